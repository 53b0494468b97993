import { fail, formatJson, formatText, ok, succeeded, warn } from '../../../src/doctor/findings.js';
import type { Line } from '../../../src/doctor/findings.js';
import { setImmediate } from 'node:timers/promises';
import { runChecks, CHECKS } from '../../../src/doctor/run.js';
import { facts } from './fakes.js';

const LINES: Line[] = [
  { check: 'a', ...ok('good') },
  { check: 'b', ...warn('so so', 'mend it') },
  { check: 'c', ...fail('bad', 'mend it now') },
];

describe('runChecks', () => {
  it('returns a line for each finding, in the order of the table', async () => {
    const rows = [
      { name: 'slow', check: () => setImmediate(ok('1')) },
      { name: 'two', check: () => [ok('2'), warn('3', 'do')] },
    ];
    expect(await runChecks(facts(), rows)).toEqual([
      { check: 'slow', level: 'ok', found: '1' },
      { check: 'two', level: 'ok', found: '2' },
      { check: 'two', level: 'warn', found: '3', todo: 'do' },
    ]);
  });

  const oops = () => {
    throw new Error('oops');
  };
  it.each([
    ['throws', oops],
    ['rejects', async () => oops()],
  ])('shows a check that %s as failed, without a stack', async (_, check) => {
    expect(await runChecks(facts(), [{ name: 'x', check }])).toEqual([
      { check: 'x', level: 'fail', found: 'the check itself failed: oops' },
    ]);
  });

  it('does not wait for a check that hangs', async () => {
    const [line] = await runChecks(facts(), [{ name: 'x', check: () => new Promise(() => undefined) }], 5);
    expect(line).toMatchObject({ level: 'fail', found: 'no answer within 0.005 s' });
  });

  it('finds nothing wrong with a machine in good order', async () => {
    const lines = await runChecks(facts());
    expect(lines.map(({ check, level }) => [check, level])).toEqual(CHECKS.map(({ name }) => [name, 'ok']));
  });

  it('leaves out the checks that need settings when these cannot be read', async () => {
    const lines = await runChecks(facts({ settings: { server: undefined, problems: ['broken'] } }));
    expect(lines.map(({ check }) => check)).toEqual(
      CHECKS.filter((row) => !row.needsSettings).map(({ name }) => name),
    );
    expect(lines.filter(({ found }) => found.includes('itself failed'))).toEqual([]);
  });
});

describe('the output', () => {
  it('has a line for each finding and a summary', () => {
    expect(formatText(LINES, [])).toBe(
      'ok    a – good\nwarn  b – so so – mend it\nfail  c – bad – mend it now\n\n1 failed, 1 to look at, 1 in order\n',
    );
  });

  it('is JSON on request', () => {
    expect(JSON.parse(formatJson(LINES, []))).toEqual({
      ok: false,
      checks: [
        { level: 'ok', check: 'a', found: 'good' },
        { level: 'warn', check: 'b', found: 'so so', todo: 'mend it' },
        { level: 'fail', check: 'c', found: 'bad', todo: 'mend it now' },
      ],
    });
  });

  it('is a success unless a check failed', () => {
    expect([succeeded(LINES), succeeded(LINES.slice(0, 2))]).toEqual([false, true]);
  });

  it.each([
    ['text', formatText],
    ['JSON', formatJson],
  ] as const)('as %s shows no secret and no control character', (_, format) => {
    const lines = [{ check: 'x', ...warn('a\u001b[2Jb s3cret-long', 'use s3cret') }];
    const shown = format(lines, ['s3cret', 's3cret-long']);
    expect(shown).toContain('a [2Jb [hidden]');
    expect(shown).not.toMatch(/s3cret|-long|\u001b|\\u001b/);
  });
});
