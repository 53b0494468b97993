import { barChart, niceStep } from '../../../bench/chart.js';
import { figure, formatTable, spreadFigure, toFigures } from '../../../bench/report.js';

describe('table', () => {
  it('puts names to the left and figures to the right', () => {
    expect(
      formatTable(
        ['name', 'n'],
        [
          ['a', '10'],
          ['longer', '5'],
        ],
      ),
    ).toBe(
      // prettier-ignore
      'name     n\n------  --\na       10\nlonger   5',
    );
  });
});

describe('figures', () => {
  it.each([
    [1234.5, '1235'],
    [12.345, '12.3'],
    [0.01234, '0.0123'],
    [0, '0'],
    [NaN, '–'],
  ])('%d is shown as %s', (value, shown) => {
    expect(figure(value)).toBe(shown);
  });

  it('show how far rounds lie apart', () => {
    expect(spreadFigure({ median: 0.95, min: 0.9, max: 1 })).toBe('0.95 (0.90–1.00)');
    expect(spreadFigure({ median: NaN, min: NaN, max: NaN })).toBe('–');
  });

  it('are kept with four digits, and as null where nothing was measured', () => {
    expect(toFigures({ rate: 1234.567, none: NaN, name: 'x' })).toEqual({
      rate: 1235,
      none: null,
      name: 'x',
    });
  });
});

describe('chart', () => {
  const value = (median: number) => ({ median, min: median - 1, max: median + 1 });
  const chart = barChart('A < B', [
    {
      title: 'rates',
      groups: ['1', '8'],
      reference: 1,
      series: [
        { name: 'one & only', values: [value(5), undefined] },
        { name: 'two', values: [value(3), value(9)] },
      ],
    },
  ]);

  it('has a bar for each value that was measured, with its whisker', () => {
    expect(chart.match(/<rect [^>]*y="\d[^>]*width="[\d.]+" height/g)).toHaveLength(3 + 2);
    expect(chart.match(/stroke="#333333"/g)).toHaveLength(3);
  });

  it('draws twice the value twice as high', () => {
    const heights = [...barChart('', [{ title: '', groups: ['a'], series: [{ name: 's', values: [value(4)] }, { name: 't', values: [value(8)] }] }]).matchAll(/height="([\d.]+)" fill="#(?:0072b2|e69f00)"\/><path/g)].map((match) => Number(match[1])); // prettier-ignore
    expect(heights[1]).toBeCloseTo(2 * heights[0]!, 0);
  });

  it('escapes what is not markup', () => {
    expect(chart).toContain('A &lt; B');
    expect(chart).toContain('one &amp; only');
  });

  it('can be drawn of nothing', () => {
    expect(barChart('empty', [{ title: '', groups: [], series: [] }])).toContain('</svg>');
  });

  it.each([
    [0.13, 0.2],
    [1, 1],
    [23, 50],
    [70, 100],
    [0, 1],
  ])('ticks for %d are %d apart', (least, step) => {
    expect(niceStep(least)).toBeCloseTo(step);
  });
});
