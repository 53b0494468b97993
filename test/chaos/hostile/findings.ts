/** What a hostile run has found, and whether that is good enough. Pure. */
import { ACTIONS } from './actions.js';
import { FLOODS } from './clients.js';
import type { JudgedPause } from './pauses.js';
import { CLASSES } from './world.js';

/** An action that ran. Times are those of pauses. */
export interface Ran {
  readonly name: string;
  readonly from: number;
  readonly to: number;
}

/** A request of the modest client, which sends small ones, one at a time. */
export interface ModestRequest {
  readonly from: number;
  readonly to: number;
  /** It got its whole reply. */
  readonly served: boolean;
  /** The status, and the code of the error if there is one. */
  readonly outcome: string;
}

export interface Findings {
  readonly seed: number;
  readonly seconds: number;
  readonly ran: readonly Ran[];
  readonly modest: readonly ModestRequest[];
  /** The longest first. */
  readonly pauses: readonly JudgedPause[];
  /** MiB; the peak is undefined if the server ended before it could be read. */
  readonly memory: { readonly idle: number; readonly peak: number | undefined };
  /** What actions and the end of the run saw that must not happen. */
  readonly problems: readonly string[];
  readonly skipped: readonly string[];
}

/** The longest allowed net pause, milliseconds. */
const MAX_PAUSE_MS = 200;

/** How far memory may grow beyond its level at rest, MiB. */
const MAX_GROWTH_MIB = 300;

/** The share of its requests that a modest client must get served, overall and during floods. */
const MIN_SERVED = 0.9;

/** Why the run has failed; empty when it passed. */
export function failuresOf(found: Findings): string[] {
  const { pauses, memory, problems } = found;
  const failures = [...problems];
  const longest = pauses[0];
  if (longest && longest.net > MAX_PAUSE_MS)
    failures.push(`the event loop paused for ${describe(longest, found)}, more than ${MAX_PAUSE_MS} ms`);
  const growth = (memory.peak ?? 0) - memory.idle;
  if (growth > MAX_GROWTH_MIB)
    failures.push(`memory grew by ${growth.toFixed(0)} MiB, more than ${MAX_GROWTH_MIB} MiB`);
  for (const [when, requests] of [
    ['', found.modest],
    [' during floods', duringFloods(found)],
  ] as const)
    if (servedShare(requests) < MIN_SERVED)
      failures.push(`the modest key starved${when}: ${servedText(requests)}`);
  return failures;
}

/** For people: what ran, the figures, the verdict. */
export function reportText(found: Findings): string {
  const { ran, modest, pauses, memory, skipped, seed, seconds } = found;
  const failures = failuresOf(found);
  const counts = (names: readonly string[]) => ran.filter(({ name }) => names.includes(name)).length;
  const classes = CLASSES.map((cls) => {
    const names = ACTIONS.filter((action) => action.cls === cls).map(({ name }) => name);
    const missing = names.filter((name) => counts([name]) === 0);
    const rest = missing.length > 0 ? `; not reached: ${missing.join(', ')}` : '';
    return `${cls}: ${counts(names)} actions, ${names.length - missing.length} of ${names.length} kinds${rest}`;
  });
  const refused = [...new Set(modest.filter(({ served }) => !served).map(({ outcome }) => outcome))];
  return [
    '',
    ...classes,
    ...skipped.map((text) => `skipped: ${text}`),
    `modest key: ${servedText(modest)}, during floods ${servedText(duringFloods(found))}` +
      (refused.length > 0 ? `; not served: ${refused.join(', ')}` : ''),
    `memory: ${memory.idle.toFixed(0)} MiB at rest, ${memory.peak?.toFixed(0) ?? '?'} MiB at most`,
    `longest pauses of the event loop, net of scheduling noise (${pauses.length} above 40 ms):`,
    ...pauses.slice(0, SHOWN_PAUSES).map((pause) => `  ${describe(pause, found)}`),
    ...failures.map((text) => `! ${text}`),
    `${failures.length === 0 ? 'Passed' : 'FAILED'}: hostile, seed ${seed}, ${seconds.toFixed(0)} s.`,
    '',
  ].join('\n');
}

const SHOWN_PAUSES = 8;

function describe(pause: JudgedPause, { ran }: Findings): string {
  const active = ran.filter((action) => overlaps(action, pause)).map(({ name }) => name);
  const gross = pause.to - pause.from;
  const running = `${pause.ran.toFixed(0)} of them running`;
  return `${pause.net.toFixed(0)} ms (${gross.toFixed(0)} with noise, ${running}) during ${active.join(' + ') || 'nothing'}`;
}

function duringFloods({ ran, modest }: Findings): ModestRequest[] {
  const floods = ran.filter(({ name }) => FLOODS.includes(name as never));
  return modest.filter((request) => floods.some((flood) => overlaps(flood, request)));
}

interface Window {
  readonly from: number;
  readonly to: number;
}

function overlaps(a: Window, b: Window): boolean {
  return a.from < b.to && b.from < a.to;
}

function servedShare(requests: readonly ModestRequest[]): number {
  if (requests.length === 0) return 1;
  return requests.filter(({ served }) => served).length / requests.length;
}

function servedText(requests: readonly ModestRequest[]): string {
  return `${requests.filter(({ served }) => served).length} of ${requests.length} served`;
}
