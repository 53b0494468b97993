import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../../../src/config/root.js';
import type { Metrics } from '../../support/exposition.js';
import { finished, gaps, MODEL, testMetrics } from './helpers.js';

/** The dashboard and the documentation name what the code has, and the documentation all of it. */

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
const own = (names: readonly string[]) => names.filter((name) => name.startsWith('lmserv_'));

/** Each metric with a series of each of its labels. */
async function everything(): Promise<Metrics> {
  const metrics = testMetrics();
  const model = MODEL;
  const trace = { model, firstTokenMs: 10, finishReason: 'stop' as const, tokenGaps: gaps(5) };
  metrics.requestDone(finished({ trace, error: 'generation_failed' }));
  metrics.backendFailed({ model, error: { code: 'provider_timeout' } });
  metrics.poolObserver.workerReady({ model, ms: 1 });
  metrics.poolObserver.waited({ model, ms: 1, outcome: 'leased' });
  return metrics.read();
}

test('the documentation has a row for each metric, with its type and labels, and no other', async () => {
  const { families } = await everything();
  const defined = families
    .filter(({ name }) => name.startsWith('lmserv_'))
    .map(({ name, type, samples }) => {
      const labels = new Set(samples.flatMap((sample) => Object.keys(sample.labels)));
      labels.delete('le');
      return `${name} ${type} ${[...labels].sort().join() || '–'}`;
    });
  const rows = [...page.matchAll(/^\| `(\w+)` \| (\w+) \| (.+?) \|/gm)];
  const documented = rows.map(
    ([, name, type, labels]) => `${name} ${type} ${labels!.split(', ').sort().join()}`,
  );
  expect(documented.sort()).toEqual(defined.sort());
});

test('what the dashboard and the alerts ask for exists, in the form they ask for', async () => {
  const metrics = await everything();
  const asked = expressions.flatMap(namesIn);
  expect(own(asked).length).toBeGreaterThan(20);
  for (const name of asked) {
    const family = metrics.family(name);
    expect([name, family.samples.some((sample) => sample.name === name)]).toEqual([name, true]);
  }
});

test('the labels that are asked for exist', async () => {
  const metrics = await everything();
  for (const [, name, selector] of expressions.join('\n').matchAll(/(\w+)\{([^}]*)\}/g)) {
    const labels = [...selector!.matchAll(/(\w+)(?:=~|!~|!=|=)"/g)].map((match) => match[1]!);
    const known = metrics.family(name!).samples.flatMap((sample) => Object.keys(sample.labels));
    // Added by Prometheus to all it scrapes.
    for (const label of labels) expect([...known, 'instance']).toContain(label);
  }
});

test('counters are read as rates, quantiles from buckets, and brackets close', () => {
  for (const expression of expressions) {
    expect(unclosed(expression)).toBe('');
    for (const name of namesIn(expression).filter((found) => /_(total|bucket|count)$/.test(found)))
      expect(expression).toMatch(new RegExp(`(rate|increase)\\(${name}[{[]`));
    if (expression.includes('histogram_quantile'))
      expect(expression).toMatch(/by \((\w+, )*le(, \w+)*\) \(rate\(\w+_bucket/);
  }
});

test('the dashboard can be imported: one data source, variables that are there, panels side by side', () => {
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

test('the variables ask for metrics that have the label', async () => {
  const metrics = await everything();
  for (const { name, definition } of variables.filter(({ type }) => type === 'query')) {
    const [, metric, label] = /^label_values\((\w+), (\w+)\)$/.exec(definition)!;
    expect(label).toBe(name);
    const labels = metrics.family(metric!).samples.flatMap((sample) => Object.keys(sample.labels));
    expect([...labels, 'instance']).toContain(label);
  }
});

/** Brackets that are still open, or closed without having been opened; those in strings do not count. */
function unclosed(expression: string): string {
  let rest = expression.replace(/"[^"]*"/g, '').replace(/[^()[\]{}]/g, '');
  for (let before = ''; before !== rest;) {
    before = rest;
    rest = rest.replace(/\(\)|\[\]|\{\}/g, '');
  }
  return rest;
}

interface Place {
  readonly x: number;
  readonly y: number;
  readonly w: number;
  readonly h: number;
}

function overlapping(places: readonly Place[]): unknown[] {
  const meet = (a: Place, b: Place) =>
    a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
  return places.flatMap((a, i) => places.slice(i + 1).filter((b) => a.x + a.w > 24 || meet(a, b)));
}
