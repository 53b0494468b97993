import type { Queue, QueueAddOptions } from 'p-queue';
import type { RequestSlots } from '../contract.js';
import { Heap } from './heap.js';
import { LinkedList, type Linked } from './linked-list.js';
import { TurnCount } from './turn-count.js';

/** What p-queue hands over with a waiting job. */
export interface FairOptions extends QueueAddOptions {
  /** Whose job it is. */
  readonly caller: string;
  /** The job lost its worker: it goes ahead of everybody and is never refused. */
  readonly resumed?: boolean | undefined;
  /** The request whose choices wait in one place; a job without it is a request of its own. */
  readonly slots?: RequestSlots | undefined;
  /** Called when the job gives way to another request; it must have the job removed. */
  readonly refuse?: (() => void) | undefined;
}

type Run = () => Promise<unknown>;

interface Job {
  readonly id: string | undefined;
  readonly run: Run;
  readonly priority: number;
  readonly refuse: (() => void) | undefined;
  readonly place: Place;
}

/** The jobs of one request. */
interface Place extends Linked<Place> {
  readonly account: Account;
  readonly slots: RequestSlots | undefined;
  readonly jobs: Job[];
  level: Level;
}

/** The order of one caller's requests. Requests that have begun have a choice running already. */
enum Level {
  Resumed,
  Begun,
  Urgent,
  Normal,
  BegunBatch,
  Batch,
}

const LEVELS = Level.Batch + 1;

/** Levels between which callers take turns; all of a lower line is run first. */
enum Line {
  Resumed,
  Interactive,
  Batch,
}

const LINES = [Line.Resumed, Line.Interactive, Line.Batch] as const;

/** What one caller has waiting and running; there is one only while there is something. */
interface Account {
  readonly caller: string;
  /** Decides between callers that are equal in everything else. */
  readonly number: number;
  running: number;
  /** When it was last served or, if never since it has been here, when it came: a count of turns. */
  turn: number;
  readonly places: readonly LinkedList<Place>[];
  /** Jobs by level. */
  readonly jobs: number[];
  /** Requests by line that have not begun. */
  readonly requests: number[];
}

/**
 * The order in which waiting jobs are run: batch work after everything else; before that the caller with the fewest
 * jobs running, then the one that was served longest ago; within a caller urgent requests first, then first come first
 * served. So a caller with one request waits for at most one of a caller with a thousand.
 *
 * An urgent request goes ahead of its own caller's requests only: anybody may say that theirs is urgent.
 *
 * All costs are logarithmic in the number of callers. Pure: p-queue decides when, this decides who.
 */
export class FairQueue implements Queue<Run, FairOptions> {
  readonly #accounts = new Map<string, Account>();
  /** The callers that have something waiting, the next one first. */
  readonly #next = new Heap(isServedBefore);
  /** By line, the callers that have a request that may give way, the one with most first. */
  readonly #most = LINES.map((line) => new Heap<Account>((a, b) => hasMore(a, b, line)));
  readonly #turnCounts = LINES.map(() => new TurnCount());
  readonly #lineSizes = LINES.map(() => 0);
  readonly #jobs = new Map<string | undefined, Job>();
  /** Requests of several choices. */
  readonly #shared = new Map<RequestSlots, Place>();
  #requests = 0;
  #turns = 0;
  #size = 0;
  #numbers = 0;

  /** Jobs that wait. */
  get size(): number {
    return this.#size;
  }

  /** Requests that wait and have not begun: those that count against a limit. */
  get requests(): number {
    return this.#requests;
  }

  enqueue(run: Run, options: Partial<FairOptions> = {}): void {
    const { priority = 0, caller = '', id, refuse } = options;
    const place = this.#placeFor(caller, options);
    const job = { id, run, priority, refuse, place };
    place.jobs.push(job);
    this.#jobs.set(id, job);
    this.#count(place, 1);
    this.#next.put(place.account);
  }

  /** Takes the next job out. */
  dequeue(): Run | undefined {
    const account = this.#next.first;
    if (!account) return undefined;
    const place = account.places.find((list) => list.first)!.first!;
    const job = place.jobs[0]!;
    this.#take(job);
    if (place.jobs.length > 0) this.#begin(place);
    return job.run;
  }

  /** A job of that caller's has begun; `finished` must follow. */
  started(caller: string): void {
    const account = this.#account(caller);
    account.running += 1;
    account.turn = this.#turns += 2;
    this.#settle(account);
  }

  /** A job of that caller's has ended. */
  finished(caller: string): void {
    const account = this.#accounts.get(caller);
    if (!account) return;
    account.running -= 1;
    this.#settle(account);
  }

  remove(id: string): void {
    const job = this.#jobs.get(id);
    if (job) this.#take(job);
  }

  /** Whether a choice of this request waits here, so that another one of it takes no place of its own. */
  has(slots: RequestSlots): boolean {
    return this.#shared.has(slots);
  }

  /**
   * Makes room for one more request by refusing another: one of batch work where there is any, of the caller that has
   * most of those, and of its requests the least urgent, then the newest. False when by that rule it is the new one
   * that gives way; then nothing has happened.
   */
  makeRoom(caller: string, priority: number): boolean {
    const loser = this.#loserTo(caller, priority);
    if (!loser) return false;
    for (const job of [...loser.jobs]) job.refuse?.();
    return true;
  }

  /** How many jobs will have been started when one that this caller adds now is: 1 is next. */
  positionOf(caller: string, priority: number): number {
    const level = levelOf(priority);
    const line = lineOf(level);
    const account = this.#accounts.get(caller);
    const own = account ? sumOf<Level>(account.jobs, (at) => lineOf(at) === line && at <= level) : 0;
    const all = account ? jobsIn(account, line) : 0;
    const others = this.#turnCounts[line]!.within(own + 1) - Math.min(all, own + 1);
    return sumOf<Line>(this.#lineSizes, (other) => other < line) + own + others + 1;
  }

  filter({ priority = 0 }: Readonly<Partial<FairOptions>>): Run[] {
    return [...this.#jobs.values()].filter((job) => job.priority === priority).map(({ run }) => run);
  }

  /** Not offered: the pool adds each job with the priority it keeps. */
  setPriority(): never {
    throw new Error('the priority of a waiting job does not change');
  }

  #placeFor(caller: string, { priority = 0, resumed = false, slots }: Partial<FairOptions>): Place {
    const shared = slots && !resumed ? this.#shared.get(slots) : undefined;
    if (shared) return shared;
    const account = this.#account(caller);
    const level = resumed ? Level.Resumed : levelOf(priority, slots);
    const place = { account, slots: resumed ? undefined : slots, jobs: [], level };
    if (place.slots) this.#shared.set(place.slots, place);
    this.#add(place);
    return place;
  }

  /** A caller that comes anew is as if it had been served just before the one that was served last. */
  #account(caller: string): Account {
    const known = this.#accounts.get(caller);
    if (known) return known;
    const account = {
      caller,
      number: (this.#numbers += 1),
      running: 0,
      turn: this.#turns - 1,
      places: Array.from({ length: LEVELS }, () => new LinkedList<Place>()),
      jobs: Array.from({ length: LEVELS }, () => 0),
      requests: LINES.map(() => 0),
    };
    this.#accounts.set(caller, account);
    return account;
  }

  #loserTo(caller: string, priority: number): Place | undefined {
    const level = levelOf(priority);
    const line = lineOf(level);
    const lowest = this.#most[Line.Batch]!.first ? Line.Batch : Line.Interactive;
    const most = this.#most[lowest]!.first;
    if (lowest > line) return most && lastIn(most, lowest);
    const own = this.#accounts.get(caller);
    if (most && most.requests[line]! > (own?.requests[line] ?? 0) + 1) return lastIn(most, line);
    const last = own && lastIn(own, line);
    return last && last.level > level ? last : undefined;
  }

  /** One choice of a request runs: the others are its caller's next, and no longer give way. */
  #begin(place: Place): void {
    const level = lineOf(place.level) === Line.Batch ? Level.BegunBatch : Level.Begun;
    if (place.level === level || place.level === Level.Resumed) return;
    const { jobs } = place.account;
    jobs[place.level]! -= place.jobs.length;
    jobs[level]! += place.jobs.length;
    this.#drop(place);
    place.level = level;
    this.#add(place);
  }

  #take(job: Job): void {
    const { place } = job;
    this.#jobs.delete(job.id);
    this.#count(place, -1);
    place.jobs.splice(place.jobs.indexOf(job), 1);
    if (place.jobs.length === 0) {
      this.#drop(place);
      if (place.slots) this.#shared.delete(place.slots);
    }
    this.#settle(place.account);
  }

  /** Puts a caller where it belongs now, or forgets it, so that a thousand passing callers leave nothing behind. */
  #settle(account: Account): void {
    if (account.jobs.some((jobs) => jobs > 0)) this.#next.put(account);
    else {
      this.#next.delete(account);
      if (account.running <= 0) this.#accounts.delete(account.caller);
    }
  }

  #add(place: Place): void {
    place.account.places[place.level]!.push(place);
    this.#countRequest(place, 1);
  }

  #drop(place: Place): void {
    place.account.places[place.level]!.delete(place);
    this.#countRequest(place, -1);
  }

  #count({ account, level }: Place, change: 1 | -1): void {
    const line = lineOf(level);
    const jobs = jobsIn(account, line);
    if (change > 0) this.#turnCounts[line]!.grew(jobs + 1);
    else this.#turnCounts[line]!.shrank(jobs);
    account.jobs[level]! += change;
    this.#lineSizes[line]! += change;
    this.#size += change;
  }

  #countRequest({ account, level }: Place, change: 1 | -1): void {
    if (!mayGiveWay(level)) return;
    const line = lineOf(level);
    const most = this.#most[line]!;
    this.#requests += change;
    account.requests[line]! += change;
    if (account.requests[line]! > 0) most.put(account);
    else most.delete(account);
  }
}

/** Whether a request has got a slot for one of its choices. */
export function hasBegun(slots: RequestSlots | undefined): boolean {
  return slots !== undefined && (slots.held > 0 || slots.releasedAt !== undefined);
}

function levelOf(priority: number, slots?: RequestSlots): Level {
  const begun = hasBegun(slots);
  if (priority < 0) return begun ? Level.BegunBatch : Level.Batch;
  if (begun) return Level.Begun;
  return priority > 0 ? Level.Urgent : Level.Normal;
}

function lineOf(level: Level): Line {
  if (level === Level.Resumed) return Line.Resumed;
  return level >= Level.BegunBatch ? Line.Batch : Line.Interactive;
}

function mayGiveWay(level: Level): boolean {
  return level === Level.Urgent || level === Level.Normal || level === Level.Batch;
}

/** The request that a caller would miss least: the least urgent, then the newest. */
function lastIn({ places }: Account, line: Line): Place | undefined {
  return places.findLast((list, level) => lineOf(level) === line && mayGiveWay(level) && list.last)?.last;
}

function jobsIn({ jobs }: Account, line: Line): number {
  return sumOf<Level>(jobs, (level) => lineOf(level) === line);
}

function sumOf<I extends number>(counts: readonly number[], which: (index: I) => boolean): number {
  return counts.reduce((sum, count, index) => (which(index as I) ? sum + count : sum), 0);
}

/** The most important line in which a caller has something waiting. */
function topLine({ jobs }: Account): Line {
  return lineOf(jobs.findIndex((count) => count > 0));
}

function isServedBefore(a: Account, b: Account): boolean {
  const [lineOfA, lineOfB] = [topLine(a), topLine(b)];
  if (lineOfA !== lineOfB) return lineOfA < lineOfB;
  if (a.running !== b.running) return a.running < b.running;
  return a.turn === b.turn ? a.number < b.number : a.turn < b.turn;
}

function hasMore(a: Account, b: Account, line: Line): boolean {
  const [ofA, ofB] = [a.requests[line]!, b.requests[line]!];
  return ofA === ofB ? a.number > b.number : ofA > ofB;
}
