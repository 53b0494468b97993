import type { Spread } from './statistics.js';

/** Bars in groups, with whiskers from the lowest round to the highest. */
export interface Panel {
  readonly title: string;
  readonly groups: readonly string[];
  readonly series: readonly Series[];
  /** Where a line is drawn. */
  readonly reference?: number;
}

export interface Series {
  readonly name: string;
  /** By group; undefined if nothing was measured. */
  readonly values: readonly (Spread | undefined)[];
}

/** Distinguishable for colour-blind readers, too (Okabe and Ito). */
const COLOURS = ['#0072b2', '#e69f00', '#009e73', '#cc79a7', '#56b4e9', '#d55e00'];

/** Pixels. */
const WIDTH = 760;
const PANEL = 250;
const PLOT = { left: 60, right: 20, top: 34, height: 160 };
const HEAD = 40;
const LEGEND = 30;
const TICKS = 4;

/** An SVG image with one panel below the other; all have the same series. */
export function barChart(title: string, panels: readonly Panel[]): string {
  const height = HEAD + panels.length * PANEL + LEGEND;
  const parts = panels.map((panel, index) => move(0, HEAD + index * PANEL, drawPanel(panel)));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>`,
    text(PLOT.left, 26, title, 'font-size="16"'),
    ...parts,
    move(0, height - LEGEND, legend(panels[0]?.series ?? [])),
    '</svg>\n',
  ].join('\n');
}

function drawPanel(panel: Panel): string {
  const highest = Math.max(panel.reference ?? 0, ...panel.series.flatMap(({ values }) => values.map(top)));
  const step = niceStep(highest / TICKS);
  const end = Math.max(step, Math.ceil(highest / step) * step);
  const y = (value: number) => PLOT.top + PLOT.height * (1 - value / end);
  return [
    text(PLOT.left, 20, panel.title, 'font-weight="bold"'),
    ...scale(end, step, y),
    ...bars(panel, y),
    ...(panel.reference === undefined ? [] : [rule(y(panel.reference), '#000000', 'stroke-dasharray="4 3"')]),
  ].join('\n');
}

const top = (value: Spread | undefined): number => (value && Number.isFinite(value.max) ? value.max : 0);

function scale(end: number, step: number, y: (value: number) => number): string[] {
  const ticks = Array.from({ length: Math.round(end / step) + 1 }, (_, index) => index * step);
  return ticks.flatMap((value) => [
    rule(y(value), '#dddddd'),
    text(PLOT.left - 6, y(value) + 4, Number(value.toPrecision(6)).toString(), 'text-anchor="end"'),
  ]);
}

function bars({ groups, series }: Panel, y: (value: number) => number): string[] {
  const groupWidth = (WIDTH - PLOT.left - PLOT.right) / groups.length;
  const barWidth = (groupWidth * 0.8) / series.length;
  return groups.flatMap((group, index) => {
    const left = PLOT.left + index * groupWidth;
    const label = text(left + groupWidth / 2, y(0) + 18, group, 'text-anchor="middle"');
    const drawn = series.map(({ values }, nth) =>
      bar(
        values[index],
        left + groupWidth * 0.1 + nth * barWidth,
        barWidth,
        COLOURS[nth % COLOURS.length]!,
        y,
      ),
    );
    return [...drawn, label];
  });
}

function bar(
  value: Spread | undefined,
  x: number,
  width: number,
  colour: string,
  y: (value: number) => number,
): string {
  if (!value || !Number.isFinite(value.median)) return '';
  const middle = round(x + width / 2);
  return (
    `<rect x="${round(x)}" y="${round(y(value.median))}" width="${round(width * 0.9)}" ` +
    `height="${round(y(0) - y(value.median))}" fill="${colour}"/>` +
    `<path d="M${middle} ${round(y(value.min))}V${round(y(value.max))}" stroke="#333333"/>`
  );
}

function legend(series: readonly Series[]): string {
  const width = (WIDTH - PLOT.left) / Math.max(1, series.length);
  return series
    .map(({ name }, nth) => {
      const x = PLOT.left + nth * width;
      const box = `<rect x="${round(x)}" y="4" width="12" height="12" fill="${COLOURS[nth % COLOURS.length]}"/>`;
      return box + text(x + 18, 14, name);
    })
    .join('\n');
}

/** The next of 1, 2, 5, 10, 20, 50 … that is not smaller. */
export function niceStep(least: number): number {
  if (!(least > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(least));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= least * 0.999)!;
}

const rule = (y: number, colour: string, more = ''): string =>
  `<path d="M${PLOT.left} ${round(y)}H${WIDTH - PLOT.right}" stroke="${colour}" ${more}/>`;

const text = (x: number, y: number, content: string, more = ''): string =>
  `<text x="${round(x)}" y="${round(y)}" fill="#222222" ${more}>${escape(content)}</text>`;

const move = (x: number, y: number, content: string): string =>
  `<g transform="translate(${x} ${y})">\n${content}\n</g>`;

const round = (value: number): number => Math.round(value * 10) / 10;

const escape = (content: string): string =>
  content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
