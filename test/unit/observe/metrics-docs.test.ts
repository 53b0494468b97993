import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../../../src/config/root.js';
import type { Metrics } from '../../support/exposition.js';
import { finished, gaps, MODEL, testMetrics } from './helpers.js';

const read = (file: string) => readFileSync(join(ROOT, file), 'utf8');
const page = read('docs/metrics.md');
const board = JSON.parse(read('deploy/grafana/lmserv.json'));
const panels: any[] = board.panels.filter(({ type }: any) => type !== 'row');
const dashboardExpressions: string[] = panels.flatMap(({ targets }) => targets.map(({ expr }: any) => expr));
const alertExpressions = [...page.matchAll(/^ +expr: (.+)$/gm)].map((match) => match[1]!);
const expressions = [...dashboardExpressions, ...alertExpressions];
const variables: any[] = board.templating.list;

const NAME = /\b(?:lmserv|process|nodejs)_[a-z0-9_]+/g;
const namesIn = (expression: string): string[] => expression.match(NAME) ?? [];
const isOwn = (name: string) => name.startsWith('lmserv_');
/** The labels that a metric has. */
const labelsOf = (metrics: Metrics, name: string) =>
  new Set(metrics.family(name).samples.flatMap(({ labels }) => Object.keys(labels)));

/** All metrics, each with a series of all its labels. */
async function everything(): Promise<Metrics> {
  const metrics = testMetrics();
  const model = MODEL;
  const trace = { model, firstTokenMs: 10, finishReason: 'stop' as const, tokenGaps: gaps(5) };
  metrics.requestDone(finished({ trace, error: 'generation_failed' }));
  metrics.backendFailed({ model, error: { code: 'provider_timeout' } });
  metrics.poolObserver.workerReady({ model, ms: 1 });
  metrics.poolObserver.modelLoaded({ model, ms: 1 });
  metrics.poolObserver.waited({ model, ms: 1, outcome: 'leased' });
  return metrics.read();
}

test('docs/metrics.md has a row for each metric, with its type and labels, and no other', async () => {
  const metrics = await everything();
  const own = metrics.families.filter(({ name }) => isOwn(name));
  const defined = own.map(({ name, type }) => {
    const labels = [...labelsOf(metrics, name)].filter((label) => label !== 'le');
    return `${name} ${type} ${labels.sort().join() || '–'}`;
  });
  const rows = [...page.matchAll(/^\| `(\w+)` \| (\w+) \| (.+?) \|/gm)];
  const sorted = (labels: string) => labels.split(', ').sort().join();
  const documented = rows.map(([, name, type, labels]) => `${name} ${type} ${sorted(labels!)}`);
  expect(documented.sort()).toEqual(defined.sort());
});

test('the metrics of the dashboard and the alerts exist, as samples of that name', async () => {
  const metrics = await everything();
  const used = expressions.flatMap(namesIn);
  expect(used.filter(isOwn).length).toBeGreaterThan(20);
  for (const name of used) {
    const { samples } = metrics.family(name);
    expect([name, samples.some((sample) => sample.name === name)]).toEqual([name, true]);
  }
});

test('the labels of the dashboard and the alerts exist', async () => {
  const metrics = await everything();
  for (const [, name, selector] of expressions.join('\n').matchAll(/(\w+)\{([^}]*)\}/g)) {
    const labels = [...selector!.matchAll(/(\w+)(?:=~|!~|!=|=)"/g)].map((match) => match[1]!);
    // Prometheus adds `instance` to everything.
    for (const label of labels) expect([...labelsOf(metrics, name!), 'instance']).toContain(label);
  }
});

test('expressions read counters as rates and quantiles from buckets, and close their brackets', () => {
  for (const expression of expressions) {
    expect(unclosed(expression)).toBe('');
    for (const name of namesIn(expression).filter((found) => /_(total|bucket|count)$/.test(found)))
      expect(expression).toMatch(new RegExp(`(rate|increase)\\(${name}[{[]`));
    if (expression.includes('histogram_quantile'))
      expect(expression).toMatch(/by \((\w+, )*le(, \w+)*\) \(rate\(\w+_bucket/);
  }
});

test('the dashboard has one data source, only variables that exist, and panels that do not overlap', () => {
  expect(board).toMatchObject({ id: null, uid: 'lmserv', title: 'LMServ' });
  expect(variables.map(({ name }) => name)).toEqual(['DS_PROMETHEUS', 'instance', 'model']);
  for (const { datasource, targets } of panels)
    for (const source of [datasource, ...targets.map((target: any) => target.datasource)])
      expect(source).toEqual({ type: 'prometheus', uid: '${DS_PROMETHEUS}' });
  const used = dashboardExpressions.flatMap((expression) => expression.match(/\$\w+/g) ?? []);
  expect(new Set(used)).toEqual(new Set(['$instance', '$model', '$__rate_interval']));
  const ids = board.panels.map(({ id }: any) => id);
  expect(new Set(ids).size).toBe(ids.length);
  expect(overlapping(board.panels.map(({ gridPos }: any) => gridPos))).toEqual([]);
});

test('the variables of the dashboard read metrics that have the label', async () => {
  const metrics = await everything();
  for (const { name, definition } of variables.filter(({ type }) => type === 'query')) {
    const [, metric, label] = /^label_values\((\w+), (\w+)\)$/.exec(definition)!;
    expect(label).toBe(name);
    expect([...labelsOf(metrics, metric!), 'instance']).toContain(label);
  }
});

/** Brackets without a partner, outside strings. */
function unclosed(expression: string): string {
  let rest = expression.replace(/"[^"]*"/g, '').replace(/[^()[\]{}]/g, '');
  for (let before = ''; before !== rest;) {
    before = rest;
    rest = rest.replace(/\(\)|\[\]|\{\}/g, '');
  }
  return rest;
}

type Place = Readonly<Record<'x' | 'y' | 'w' | 'h', number>>;

function overlapping(places: readonly Place[]): unknown[] {
  const meet = (a: Place, b: Place) =>
    a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
  return places.flatMap((a, i) => places.slice(i + 1).filter((b) => a.x + a.w > 24 || meet(a, b)));
}
