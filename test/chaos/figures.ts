import type { MemoryFloors } from './memory.js';
import type { ChaosOptions } from './options.js';
import { quantile } from './quantile.js';
import type { Slots } from './settle.js';
import type { Ending } from './shutdown.js';
import type { Tally } from './tally.js';

/** The server when there is nothing to do. */
export interface AtRest {
  readonly descriptors: number;
  readonly slots: Slots;
}

/** All that a run has found. Times are milliseconds. */
export interface Findings {
  readonly options: ChaosOptions;
  readonly tally: Tally;
  readonly hangMs: number | undefined;
  readonly graceMs: number;
  readonly loadMs: number;
  readonly memory: MemoryFloors | undefined;
  readonly kills: number;
  readonly noticedMs: readonly number[];
  readonly stops: number;
  readonly hungMs: readonly number[];
  readonly healthMs: readonly number[];
  readonly healthFailures: number;
  readonly resumed: number;
  readonly retried: number;
  /** After a warm-up and after the load; undefined where the server did not live so long. */
  readonly before: AtRest | undefined;
  readonly after: AtRest | undefined;
  readonly zombies: number | undefined;
  readonly errors: readonly string[];
  /** undefined: it ended by itself before it was told to. */
  readonly ending: Ending | undefined;
}

/** One line of the table. */
export interface Figure {
  readonly name: string;
  readonly value: string;
  readonly goal: string;
  /** undefined: nothing was measured, or there is no goal. */
  readonly met: boolean | undefined;
}

/** How far an end may lag behind its limit, milliseconds. */
const LAG_MS = 1_000;

/** Before so many requests memory says nothing: the engine's heap is still growing to the size it works with. */
const TELLING_REQUESTS = 50_000;

/** Nothing was lost, cut, misrouted or orphaned, all requests are accounted for and the server lived to its end. */
export function passed({ tally, ending }: Findings): boolean {
  return tally.balanced && tally.outcomes.lost === 0 && ending !== undefined && ending.orphans.length === 0;
}

/** `admitted 10 = finished 8 + …`, with what is missing where it is not so. */
export function balanceLine({ admitted, outcomes, balanced, open }: Tally): string {
  const { finished, refused, cancelled, broken, lost } = outcomes;
  const sum = `finished ${finished} + refused ${refused} + cancelled ${cancelled} + broken ${broken}`;
  const missing = ` (lost ${lost}, without an end ${open})`;
  return `admitted ${admitted} ${balanced ? '=' : '≠'} ${sum}${balanced ? '' : missing}`;
}

/** The table: what was found beside what it should be. */
export function figuresOf(found: Findings): Figure[] {
  return [...texts(found), ...workers(found), ...answers(found), ...sizes(found), ...end(found)];
}

function texts({ tally, resumed, retried }: Findings): Figure[] {
  const { all, equal } = tally.compared;
  const share = `${((100 * equal) / all).toFixed(2)} % (${equal} of ${all})`;
  const { cut, misrouted, other } = tally.losses;
  return [
    figure(
      'texts equal to the undisturbed ones',
      all > 0 ? share : NONE,
      '≥ 99 %',
      atLeast(equal / all, 0.99),
    ),
    none('cut without a word', cut),
    none('misrouted', misrouted),
    none('lost otherwise: no end, unplanned answer', other),
    none('replies broken that could have gone on', tally.brokenPlain),
    figure('replies gone on with by another worker', String(resumed), '–', undefined),
    figure('requests run again before their first token', String(retried), '–', undefined),
  ];
}

function workers({ hangMs, kills, noticedMs, stops, hungMs }: Findings): Figure[] {
  const longest = quantile(hungMs, 1);
  const limit = hangMs === undefined ? undefined : hangMs + LAG_MS;
  return [
    figure('dead worker noticed', `${spread(noticedMs)} of ${kills}`, 'p99 ≤ 10 ms', within(noticedMs, 10)),
    figure(
      'stopped worker replaced',
      `${spread(hungMs)} of ${stops}`,
      limit === undefined ? '–' : `≤ ${limit} ms`,
      longest === undefined || limit === undefined ? undefined : longest <= limit,
    ),
  ];
}

function answers({ tally, healthMs, healthFailures, loadMs }: Findings): Figure[] {
  const rate = (1000 * tally.admitted) / loadMs;
  return [
    figure('health under load', spread(healthMs), 'p99 ≤ 50 ms', within(healthMs, 50)),
    none('health without an answer', healthFailures),
    figure('503 of a full queue', spread(tally.queueFullMs), 'p99 ≤ 50 ms', within(tally.queueFullMs, 50)),
    figure('requests a second', rate.toFixed(0), '–', undefined),
  ];
}

function sizes({ memory, tally, before, after }: Findings): Figure[] {
  const slots = after?.slots;
  const free = slots && `${slots.idle} of ${slots.total}`;
  const allFree = slots && slots.idle === slots.total;
  return [
    growth(memory, tally.admitted),
    figure(
      'open descriptors',
      before && after ? `${before.descriptors} → ${after.descriptors}` : NONE,
      'at most 5 more',
      before && after && after.descriptors - before.descriptors <= 5,
    ),
    figure('slots free after the load', free ?? NONE, 'all', allFree),
  ];
}

function growth(memory: MemoryFloors | undefined, requests: number): Figure {
  const name = 'memory growth (lowest RssAnon)';
  const goal = '≤ 20 MiB in 100,000';
  if (!memory) return figure(name, NONE, goal, undefined);
  const grown = memory.late - memory.early;
  const range = `${memory.early.toFixed(1)} → ${memory.late.toFixed(1)}`;
  const met = requests >= TELLING_REQUESTS ? grown <= 20 : undefined;
  return figure(name, `${grown.toFixed(1)} MiB (${range}), ${requests} requests`, goal, met);
}

function end({ ending, graceMs, zombies, errors }: Findings): Figure[] {
  const limit = graceMs + LAG_MS;
  const value = ending ? `${ending.ms.toFixed(0)} ms, ${exitText(ending)}` : 'it ended by itself';
  const met = ending !== undefined && ending.code === 0 && ending.ms <= limit;
  return [
    figure('exit after SIGTERM', value, `≤ ${limit} ms, code 0`, met),
    none('orphans', ending?.orphans.length),
    none('zombies', zombies),
    none('errors in the log', errors.length),
  ];
}

function exitText({ code, signal }: Ending): string {
  return signal ?? `code ${code}`;
}

const NONE = 'none';

function figure(name: string, value: string, goal: string, met: boolean | undefined): Figure {
  return { name, value, goal, met };
}

/** What must not be. */
function none(name: string, count: number | undefined): Figure {
  return figure(
    name,
    count === undefined ? NONE : String(count),
    '0',
    count === undefined ? undefined : count === 0,
  );
}

function atLeast(share: number, goal: number): boolean | undefined {
  return Number.isNaN(share) ? undefined : share >= goal;
}

function within(times: readonly number[], limit: number): boolean | undefined {
  const p99 = quantile(times, 0.99);
  return p99 === undefined ? undefined : p99 <= limit;
}

/** `p50 2 ms, p99 9 ms, longest 12 ms, n 120`. */
function spread(times: readonly number[]): string {
  if (times.length === 0) return NONE;
  const [p50, p99, longest] = [0.5, 0.99, 1].map((share) => quantile(times, share)!.toFixed(0));
  return `p50 ${p50} ms, p99 ${p99} ms, longest ${longest} ms, n ${times.length}`;
}
