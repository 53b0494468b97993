import { usageFormat, usageRange, usageText } from '../../../../src/accounts/usage/report.js';
import type { UsageRow } from '../../../../src/accounts/usage/pages.js';

const row = (fields: Partial<UsageRow> = {}): UsageRow => ({
  tenant: 'acme',
  model: 'm',
  day: '2025-03-01',
  requests: 3n,
  promptTokens: 30n,
  completionTokens: 12n,
  costNano: 37_500n,
  cancelled: 1n,
  broken: 0n,
  refused: 1n,
  ...fields,
});

const textOf = (format: 'json' | 'csv', ...pages: UsageRow[][]) => [...usageText(format, pages)].join('');
const usageJson = (...pages: UsageRow[][]): any => JSON.parse(textOf('json', ...pages));
const usageCsv = (...pages: UsageRow[][]): string => textOf('csv', ...pages);

describe('JSON', () => {
  test('has rows and their exact total, with the cost in the currency', () => {
    const rows = [row({ costNano: 100_000_000n }), row({ day: '2025-03-02', costNano: 200_000_000n })];
    const counts = { prompt_tokens: 30, completion_tokens: 12, cancelled: 1, broken: 0, refused: 1 };
    const sums = { prompt_tokens: 60, completion_tokens: 24, cancelled: 2, broken: 0, refused: 2 };
    const [first, second] = rows;
    expect(usageJson([first!], [], [second!])).toEqual(usageJson(rows));
    expect(usageJson(rows)).toEqual({
      usage: [
        { tenant: 'acme', model: 'm', day: '2025-03-01', requests: 3, cost: 0.1, ...counts },
        { tenant: 'acme', model: 'm', day: '2025-03-02', requests: 3, cost: 0.2, ...counts },
      ],
      total: { requests: 6, cost: 0.3, ...sums },
    });
  });

  test('has numbers that are exact to the last digit', () => {
    const [costNano, promptTokens] = [2n ** 63n - 1n, 2n ** 53n + 1n];
    const text = textOf('json', [row({ costNano, promptTokens })], [row({ costNano, promptTokens })]);
    expect(text).toContain(
      '"prompt_tokens":9007199254740993,"completion_tokens":12,"cost":9223372036.854775807,',
    );
    expect(text).toContain('"total":{"requests":6,"prompt_tokens":18014398509481986,');
    expect(text).toContain('"cost":18446744073.709551614,');
  });

  test('of an empty report has a total of zeros', () => {
    expect(usageJson([])).toMatchObject({ usage: [], total: { requests: 0, cost: 0 } });
  });
});

describe('CSV', () => {
  const HEADER =
    'tenant,model,day,requests,prompt_tokens,completion_tokens,cost,cancelled,broken,refused\r\n';

  test('has a header and one line per row, terminated by CR LF', () => {
    expect(usageCsv([row()])).toBe(`${HEADER}acme,m,2025-03-01,3,30,12,0.0000375,1,0,1\r\n`);
    expect(usageCsv([])).toBe(HEADER);
  });

  test.each([
    ['a,b', '"a,b"'],
    ['say "hi"', '"say ""hi"""'],
    ['two\r\nlines', '"two\r\nlines"'],
    ['=1+1', "'=1+1"],
    ['+49', "'+49"],
    ['-1', "'-1"],
    ['@SUM(A1)', "'@SUM(A1)"],
    [' =1', "' =1"],
    ['\t=1', `"'\t=1"`],
    ['＝1', "'＝1"],
    ['=cmd|\' /C calc\'!"A1",x', '"\'=cmd|\' /C calc\'!""A1"",x"'],
    ['\nx', '"\'\nx"'],
    ['a;=1+cmd;b', `"a;'=1+cmd;b"`],
    ['a; @x', `"a;' @x"`],
    ['a;b', '"a;b"'],
    ['a\tb', '"a\tb"'],
    ['a=b', 'a=b'],
    ['Ümläut 7', 'Ümläut 7'],
  ])('writes the name %j as %j', (tenant, cell) => {
    const line = usageCsv([row({ tenant, model: tenant })]).slice(HEADER.length);
    expect(line).toBe(`${cell},${cell},2025-03-01,3,30,12,0.0000375,1,0,1\r\n`);
  });
});

describe('the range of days', () => {
  test.each([
    ['2025-01-31', '2025-01-31'],
    ['2024-02-29', '2024-02-29'],
    ['2025-01-31T23:30:00Z', '2025-01-31'],
    ['2025-01-31T23:30', '2025-01-31'],
    ['2025-01-31T23:30:00.123-05:00', '2025-02-01'],
    ['2025-02-01T00:30:00+02:00', '2025-01-31'],
    ['2025-02-01T00:30:00 02:00', '2025-01-31'],
  ])('parses %s as %s', (text, day) => {
    expect(usageRange({ from: text, to: undefined })).toEqual({ from: day, to: undefined });
  });

  test.each([
    '2025-02-29',
    '2025-13-01',
    '2025-00-10',
    '2025-1-1',
    '20250101',
    '2025-01-01T25:00:00Z',
    '2025-01-01T10:00:00+99:00',
    '9999-12-31T23:00:00-05:00',
    '2025-01-01; DROP',
    'yesterday',
    '',
    1735689600,
    ['2025-01-01', '2025-01-02'],
    null,
  ])('rejects %j and names the field', (value) => {
    for (const param of ['from', 'to']) {
      const error = expect.objectContaining({ code: 'invalid_value', status: 400, param });
      expect(() => usageRange({ [param]: value })).toThrow(error);
    }
  });

  test('may be a single day and must not end before it begins', () => {
    const day = { from: '2025-01-31', to: '2025-01-31' };
    expect(usageRange(day)).toEqual(day);
    expect(() => usageRange({ from: '2025-02-01', to: '2025-01-31' })).toThrow('later than to');
    expect(usageRange({})).toEqual({ from: undefined, to: undefined });
  });
});

test('the format is json or csv', () => {
  expect([undefined, 'json', 'csv'].map(usageFormat)).toEqual(['json', 'json', 'csv']);
  expect(() => usageFormat('xml')).toThrow(expect.objectContaining({ status: 400, param: 'format' }));
});
