import {
  countRetries,
  balanceLine,
  figuresOf,
  type Findings,
  MemoryWatch,
  passed,
  quantile,
  reportJson,
  reportText,
} from '../../chaos/figures.js';
import { LoggedServer } from '../../harness/server-process.js';
import type { Verdict } from '../../chaos/judge.js';
import { type ChaosOptions, parseChaosArgs } from '../../chaos/options.js';
import type { Plan } from '../../chaos/plan.js';
import { BOUND_ROUTE, type Route, ROUTES } from '../../chaos/routes.js';
import { Tally } from '../../chaos/tally.js';

const plan = (route: Route = ROUTES[0]!): Plan => ({
  actor: 'plain',
  call: { method: 'POST', path: route.path },
  manner: { kind: 'patient' },
  asked: { kind: 'question', route, question: 'q' },
});

function tallyOf(verdicts: readonly Verdict[], route?: Route): Tally {
  const tally = new Tally();
  for (const [index, verdict] of verdicts.entries()) {
    tally.admit();
    tally.add(index, plan(route), verdict, 1);
  }
  return tally;
}

const finished: Verdict = { outcome: 'finished', equal: true };
const atRest = { descriptors: 30, slots: { total: 4, idle: 4 } };

const found = (fields: Partial<Findings> = {}): Findings => ({
  options: parseChaosArgs(['--seed', '1']) as ChaosOptions,
  tally: tallyOf([finished]),
  hangMs: 2_000,
  graceMs: 3_000,
  loadMs: 1_000,
  memory: undefined,
  kills: 0,
  noticedMs: [],
  stops: 0,
  hungMs: [],
  healthMs: [],
  healthFailures: 0,
  resumed: 0,
  retried: 0,
  before: atRest,
  after: atRest,
  zombies: 0,
  errors: [],
  ending: { code: 0, signal: null, ms: 100, orphans: [] },
  ...fields,
});

const met = (name: string, fields: Partial<Findings>) =>
  figuresOf(found(fields)).find((figure) => figure.name.startsWith(name))!.met;

test('requests with a planned end balance', () => {
  const tally = tallyOf([
    finished,
    { outcome: 'refused', reason: '503 queue_full' },
    { outcome: 'cancelled' },
    { outcome: 'broken', reason: 'connection cut' },
  ]);
  expect(balanceLine(tally)).toBe('admitted 4 = finished 1 + refused 1 + cancelled 1 + broken 1');
  expect(passed(found({ tally }))).toBe(true);
});

test('a lost request does not balance', () => {
  const tally = tallyOf([finished, { outcome: 'lost', reason: 'cut silently' }]);
  expect(balanceLine(tally)).toContain('≠');
  expect(passed(found({ tally }))).toBe(false);
});

test('a request without an end does not balance', () => {
  const tally = tallyOf([finished]);
  tally.admit();
  expect(balanceLine(tally)).toContain('without an end 1');
  expect(passed(found({ tally }))).toBe(false);
});

test('losses are counted by kind', () => {
  const reasons = ['cut silently', 'misrouted: q', 'no end'];
  const tally = tallyOf(reasons.map((reason) => ({ outcome: 'lost', reason })));
  expect(tally.losses).toEqual({ cut: 1, misrouted: 1, other: 1 });
});

test('only replies that could have been resumed count as broken plain ones', () => {
  const broken: Verdict = { outcome: 'broken', reason: 'connection cut' };
  expect([tallyOf([broken]).brokenPlain, tallyOf([broken], BOUND_ROUTE).brokenPlain]).toEqual([1, 0]);
});

test.each([
  ['orphans', { ending: { code: 0, signal: null, ms: 100, orphans: [7] } }],
  ['an early end', { ending: undefined }],
])('%s of the server fails the run', (_, fields) => {
  expect(passed(found(fields))).toBe(false);
});

test.each([
  ['dead worker', { noticedMs: [9, 10] }, true],
  ['dead worker', { noticedMs: [9, 11] }, false],
  ['dead worker', {}, undefined],
  ['stopped worker', { hungMs: [3_000] }, true],
  ['stopped worker', { hungMs: [3_001] }, false],
  ['open descriptors', { after: { ...atRest, descriptors: 36 } }, false],
  ['slots', { after: { ...atRest, slots: { total: 4, idle: 3 } } }, false],
  ['exit', { ending: { code: 0, signal: null, ms: 4_001, orphans: [] } }, false],
  ['exit', { ending: { code: 1, signal: null, ms: 1, orphans: [] } }, false],
] as const)('%s with %j: %j', (name, fields, expected) => {
  expect(met(name, fields)).toBe(expected);
});

test('the report shows the balance, the seed and notable requests', () => {
  const tally = tallyOf([{ outcome: 'lost', reason: 'no end', text: 'half' }]);
  const text = reportText(found({ tally }));
  for (const part of ['"half"', 'admitted 1 ≠', 'FAILED', 'seed 1', '1  lost: no end'])
    expect(text).toContain(part);
  expect(JSON.parse(JSON.stringify(reportJson(found())))).toMatchObject({
    passed: true,
    tally: { admitted: 1 },
  });
});

test('resumed replies had begun when their worker failed, and finished', () => {
  const server = new LoggedServer(false);
  const add = (event: string, fields: object) => server.add(JSON.stringify({ level: 30, event, ...fields }));
  add('worker_failed_request', { requestId: 'a', tokens: 3 });
  add('request', { requestId: 'a', outcome: 'finished', attempts: 2 });
  add('worker_failed_request', { requestId: 'b', tokens: 3 });
  add('request', { requestId: 'b', outcome: 'broken', attempts: 2 });
  add('worker_failed_request', { requestId: 'c', tokens: 0 });
  add('request', { requestId: 'c', outcome: 'finished', attempts: 2 });
  add('request', { requestId: 'd', outcome: 'finished' });
  expect(countRetries(server)).toEqual({ resumed: 1, retried: 1 });
});

test('quantiles are values that occur', () => {
  const values = Array.from({ length: 100 }, (_, index) => 100 - index);
  expect([0, 0.5, 0.99, 1].map((share) => quantile(values, share))).toEqual([1, 50, 99, 100]);
  expect(quantile([], 0.5)).toBeUndefined();
});

test.each([
  [100_000, 101, false],
  [100_000, 99, true],
  [1_000, 200, undefined],
])('after %i requests, memory from 80 to %i MiB: %j', (requests, late, expected) => {
  const tally = tallyOf([finished]);
  tally.admitted = requests;
  expect(met('memory', { tally, memory: { early: 80, late } })).toBe(expected);
});

test('memory is compared by its lowest points, without the warm-up', () => {
  const watch = new MemoryWatch();
  watch.add(0.05, 60);
  for (const [share, memory] of [
    [0.2, 120],
    [0.3, 90],
    [0.5, 70],
    [0.8, 95],
  ] as const)
    watch.add(share, memory);
  expect(watch.floors).toEqual({ early: 90, late: 95 });
});

test('memory is not compared if the load ended early', () => {
  const watch = new MemoryWatch();
  watch.add(0.2, 90);
  expect(watch.floors).toBeUndefined();
});
