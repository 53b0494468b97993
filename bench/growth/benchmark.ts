import { measureModels, type BenchContext, type Benchmark } from '../benchmark.js';
import { LoadClient } from '../load/client.js';
import { withOwned } from '../program.js';
import { figure, spreadFigure } from '../report/format.js';
import { toFigures } from '../report/json.js';
import { countSteps } from '../report/steps.js';
import { formatTable } from '../report/table.js';
import { ratios, spread, type Spread } from '../statistics.js';
import { SERIES, type Point, type Series } from './series.js';
import { verdictOf } from './verdict.js';

interface Row {
  readonly series: string;
  readonly backend: string;
  readonly point: string;
  readonly unit: string;
  readonly cost: Spread;
  /** The cost divided by that of the first point in the same round. */
  readonly ofFirst: Spread;
  /** On the last point of a series. */
  readonly verdict: string;
}

/** How LMServ's cost grows with everything that grows in use. */
export const growth: Benchmark = {
  summary: "how LMServ's processor time grows with streams, waiting requests, keys, callers and prompts",
  async run(context) {
    const options = { ...context.options, models: ['demo'] as const };
    const figures = await measureModels({ ...context, options }, async ({ path }) => {
      const rows: Row[] = [];
      for (const series of SERIES) rows.push(...(await measureSeries(series, path, context)));
      return rows;
    });
    return { text: table(figures.rows), figures: toFigures(figures) as object };
  },
};

/** All points in turn, round after round; the first round is not counted. */
function measureSeries(series: Series, modelPath: string, context: BenchContext): Promise<Row[]> {
  const { root, options, signal } = context;
  const rounds = options.rounds ?? (options.quick ? 1 : 5);
  return withOwned(async (own) => {
    const client = own(new LoadClient());
    const points = await series.start({ root, modelPath, client, own, signal });
    const steps = own(countSteps(series.name, (rounds + 1) * points.length));
    const costs = points.map((): number[] => []);
    for (let round = 0; round <= rounds; round += 1) {
      for (const [index, point] of points.entries()) {
        const cost = await point.measure();
        if (round > 0) costs[index]!.push(cost);
        steps.step(point.label);
      }
    }
    return rowsOf(series, points, costs);
  });
}

function rowsOf(
  { name, backend, unit, allowed }: Series,
  points: readonly Point[],
  costs: number[][],
): Row[] {
  const spreads = costs.map(spread);
  const sizes = points.map(({ size }, index) => ({ size, cost: spreads[index]!.median }));
  return points.map(({ label }, index) => ({
    series: name,
    backend,
    point: label,
    unit,
    cost: spreads[index]!,
    ofFirst: spread(ratios(costs[index]!, costs[0]!)),
    verdict: index === points.length - 1 ? verdictOf(sizes, allowed) : '',
  }));
}

function table(rows: readonly Row[]): string {
  return formatTable(
    ['cost', 'backend', 'at', 'median (min–max)', 'of the first (min–max)', 'verdict'],
    rows.map(({ series, backend, point, unit, cost, ofFirst, verdict }) => [
      series,
      backend,
      point,
      `${figure(cost.median)} (${figure(cost.min)}–${figure(cost.max)}) ${unit}`,
      spreadFigure(ofFirst),
      verdict,
    ]),
  );
}
