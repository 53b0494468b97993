import type { ChaosOptions } from './options.js';
import { memoryMib } from '../harness/processes.js';
import type { Exit } from '../harness/program.js';
import type { LoggedServer, LogLine } from '../harness/server-process.js';
import type { Tally } from './tally.js';

/** The value below which that share of the values lies, by nearest rank; undefined where there is none. */
export function quantile(values: readonly number[], share: number): number | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
}

/** The lowest memory of the server in an early and in a late part of the load, MiB. */
interface MemoryFloors {
  readonly early: number;
  readonly late: number;
}

/** Parts of the load; before the first, the heap is still finding its size. */
const EARLY = [0.1, 0.4] as const;
const LATE = [0.7, 1] as const;

/**
 * Watches the memory of a process. A collected heap moves by tens of MiB, at rest as well as under load, so one look says
 * nothing: a leak raises the lowest points.
 */
export class MemoryWatch {
  readonly #samples: { readonly share: number; readonly memory: number }[] = [];

  /** Takes what the process has now that `share` of the load is done. */
  look(pid: number, share: number): void {
    this.add(share, memoryMib(pid, 'RssAnon'));
  }

  /** @param memory NaN if the process is gone */
  add(share: number, memory: number): void {
    if (memory > 0) this.#samples.push({ share, memory });
  }

  /** undefined if the load ended before the late part. */
  get floors(): MemoryFloors | undefined {
    const early = this.#lowest(EARLY);
    const late = this.#lowest(LATE);
    return Number.isFinite(early) && Number.isFinite(late) ? { early, late } : undefined;
  }

  #lowest([from, to]: readonly [number, number]): number {
    const part = this.#samples.filter(({ share }) => share >= from && share <= to);
    return Math.min(...part.map(({ memory }) => memory));
  }
}

/** Slots as `/ready` shows them. */
export interface Slots {
  readonly total: number;
  readonly idle: number;
}

export interface Ending extends Exit {
  /** From SIGTERM to the end of the process, milliseconds. */
  readonly ms: number;
  /** Workers that were left behind. */
  readonly orphans: readonly number[];
}

/** The server when there is nothing to do. */
export interface AtRest {
  readonly descriptors: number;
  readonly slots: Slots;
}

/** What a run has found. Times are milliseconds. */
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
  /** After a warm-up and after the load; undefined if the server ended before. */
  readonly before: AtRest | undefined;
  readonly after: AtRest | undefined;
  readonly zombies: number | undefined;
  readonly errors: readonly LogLine[];
  /** undefined: it ended before SIGTERM. */
  readonly ending: Ending | undefined;
}

/** One line of the table. */
interface Figure {
  readonly name: string;
  readonly value: string;
  readonly goal: string;
  /** undefined: nothing was measured, or there is no goal. */
  readonly met: boolean | undefined;
}

/** How late an end may be, milliseconds. */
const LAG_MS = 1_000;

/** With fewer requests, memory says nothing: V8's heap is still growing to its working size. */
const TELLING_REQUESTS = 50_000;

/** Requests whose worker failed and that finished nevertheless: after their first token, or before it. */
export function countRetries(server: LoggedServer): { resumed: number; retried: number } {
  const begun = new Set(
    server
      .logged('worker_failed_request')
      .flatMap(({ tokens, requestId }) => (tokens > 0 ? [requestId] : [])),
  );
  const finished = server.logged('request').filter(({ outcome }) => outcome === 'finished');
  const resumed = finished.filter(({ requestId }) => begun.has(requestId)).length;
  return { resumed, retried: finished.length - resumed };
}

/** Nothing was lost, cut, misrouted or orphaned, every request is accounted for, and the server ran until SIGTERM. */
export function passed({ tally, ending }: Findings): boolean {
  return tally.balanced && tally.outcomes.lost === 0 && ending !== undefined && ending.orphans.length === 0;
}

/** `admitted 10 = finished 8 + …`, with what is missing if it does not balance. */
export function balanceLine({ admitted, outcomes, balanced, open }: Tally): string {
  const { finished, refused, cancelled, broken, lost } = outcomes;
  const sum = `finished ${finished} + refused ${refused} + cancelled ${cancelled} + broken ${broken}`;
  const missing = ` (lost ${lost}, without an end ${open})`;
  return `admitted ${admitted} ${balanced ? '=' : '≠'} ${sum}${balanced ? '' : missing}`;
}

/** The table: what was found beside its goal. */
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
    none('cut silently', cut),
    none('misrouted', misrouted),
    none('lost otherwise: no end, unplanned status', other),
    none('replies broken that could have been resumed', tally.brokenPlain),
    figure('replies resumed by another worker', String(resumed), '–', undefined),
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
    none('health checks without a reply', healthFailures),
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

/** A count that should be 0. */
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

/** The findings for people: the balance, what became of the requests, the figures beside their goals. */
export function reportText(found: Findings): string {
  const { tally, options } = found;
  return [
    '',
    ...tally.examples.map((example) => `! ${JSON.stringify(example)}`),
    ...found.errors.slice(0, SHOWN_ERRORS).map((line) => `! ${JSON.stringify(line)}`),
    balanceLine(tally),
    ...[...tally.reasons].sort().map(([reason, count]) => `  ${String(count).padStart(7)}  ${reason}`),
    '',
    ...tableLines(figuresOf(found)),
    '',
    `${passed(found) ? 'Passed' : 'FAILED'}: ${options.preset}, seed ${options.seed}, ${(found.loadMs / 1000).toFixed(0)} s under load.`,
    '',
  ].join('\n');
}

/** The findings for programs. */
export function reportJson(found: Findings): object {
  const { tally } = found;
  const { admitted, outcomes, compared, losses, brokenPlain, balanced, examples } = tally;
  const reasons = Object.fromEntries(tally.reasons);
  return {
    ...found,
    passed: passed(found),
    figures: figuresOf(found),
    tally: { admitted, balanced, outcomes, reasons, compared, losses, brokenPlain, examples },
  };
}

const SHOWN_ERRORS = 5;

const MARKS = { true: 'met', false: 'MISSED', undefined: '' } as const;

function tableLines(figures: readonly Figure[]): string[] {
  const rows = [
    { name: 'figure', value: 'found', goal: 'goal', mark: '' },
    ...figures.map(({ met, ...row }) => ({ ...row, mark: MARKS[`${met}`] })),
  ];
  const width = (key: 'name' | 'value' | 'goal') => Math.max(...rows.map((row) => row[key].length));
  const [names, values, goals] = [width('name'), width('value'), width('goal')];
  return rows.map(({ name, value, goal, mark }) =>
    `${name.padEnd(names)}  ${value.padEnd(values)}  ${goal.padEnd(goals)}  ${mark}`.trimEnd(),
  );
}
