import type { Queue, QueueAddOptions } from 'p-queue';
import type { RequestSlots } from '../contract.js';
import { Heap } from './heap.js';
import { TurnCount } from './turn-count.js';

/** The options that p-queue passes along with a waiting job. */
export interface FairOptions extends QueueAddOptions {
  /** The caller that the job belongs to. */
  readonly caller: string;
  /** The job lost its worker: it goes ahead of all others and is never evicted. */
  readonly resumed?: boolean | undefined;
  /** The request whose choices share a place; a job without it is a request of its own. */
  readonly slots?: RequestSlots | undefined;
  /** Called when the job is evicted in favour of another request; it must remove the job. */
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

/** The order of one caller's requests. One of a begun request's choices is running already. */
enum Level {
  Resumed,
  Begun,
  Urgent,
  Normal,
  BegunBatch,
  Batch,
}

const LEVELS = Level.Batch + 1;

/** Of requests that have begun, the first ones first. */
const BEGUN_LEVELS = [Level.Resumed, Level.Begun, Level.BegunBatch] as const;

/** Groups of levels. Callers take turns within a line; a line runs only when the lines before it are empty. */
enum Line {
  Resumed,
  Interactive,
  Batch,
}

const LINES = [Line.Resumed, Line.Interactive, Line.Batch] as const;

/** One caller's waiting and running jobs. It exists only while the caller has any. */
interface Account {
  readonly caller: string;
  /** Breaks ties between callers. */
  readonly number: number;
  running: number;
  /** The turn in which it was last served or, before that, in which it arrived. */
  turn: number;
  readonly places: readonly LinkedList<Place>[];
  /** Number of waiting jobs by level. */
  readonly jobs: number[];
  /** Number of waiting requests that have not begun, by line. */
  readonly requests: number[];
}

/**
 * The order in which waiting jobs run. Batch work comes last. Before that, the caller with the fewest running jobs is
 * next, then the one served longest ago. Within a caller, urgent requests come first, then first come, first served. So
 * a caller with one request waits for at most one request of a caller with a thousand.
 *
 * An urgent request overtakes only requests of its own caller, because anybody may declare a request urgent.
 *
 * Every operation is logarithmic in the number of callers. Pure: p-queue decides when a job runs, this class which one.
 */
export class FairQueue implements Queue<Run, FairOptions> {
  readonly #accounts = new Map<string, Account>();
  /** The callers with waiting jobs, the next one first. */
  readonly #next = new Heap(isServedBefore);
  /** By line: the callers with requests that may be evicted, the one with the most first. */
  readonly #largest = LINES.map((line) => new Heap<Account>((a, b) => hasMore(a, b, line)));
  readonly #turnCounts = LINES.map(() => new TurnCount());
  readonly #lineSizes = LINES.map(() => 0);
  readonly #jobs = new Map<string | undefined, Job>();
  /** The places of requests with several choices. */
  readonly #shared = new Map<RequestSlots, Place>();
  #requests = 0;
  #turns = 0;
  #waiting = 0;
  #begun = 0;
  #numbers = 0;
  /** Only jobs of requests that have begun may run. */
  onlyBegun = false;

  /** Number of waiting jobs that may run, for p-queue. */
  get size(): number {
    return this.onlyBegun ? this.#begun : this.#waiting;
  }

  /** Number of waiting jobs. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Number of waiting jobs of requests that have begun. */
  get begun(): number {
    return this.#begun;
  }

  /** Number of waiting requests that have not begun; these count against the queue's limit. */
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

  /** Removes and returns the next job. */
  dequeue(): Run | undefined {
    const place = this.onlyBegun ? this.#firstBegun() : this.#first();
    if (!place) return undefined;
    const job = place.jobs[0]!;
    this.#removeJob(job);
    if (place.jobs.length > 0) this.#markBegun(place);
    return job.run;
  }

  /** Records that a job of the caller has started; `finished` must follow. */
  started(caller: string): void {
    const account = this.#account(caller);
    account.running += 1;
    account.turn = this.#turns += 2;
    this.#reorder(account);
  }

  /** Records that a job of the caller has ended. */
  finished(caller: string): void {
    const account = this.#accounts.get(caller);
    if (!account) return;
    account.running -= 1;
    this.#reorder(account);
  }

  remove(id: string): void {
    const job = this.#jobs.get(id);
    if (job) this.#removeJob(job);
  }

  /** Whether a choice of this request is waiting; its other choices then share that place. */
  has(slots: RequestSlots): boolean {
    return this.#shared.has(slots);
  }

  /**
   * Makes room for a new request by evicting another: batch work if there is any, of the caller with the most requests
   * in that line, the least urgent and then the newest of them. Returns false, and evicts nothing, when the rule picks
   * the new request itself.
   */
  makeRoom(caller: string, priority: number): boolean {
    const victim = this.#findVictim(caller, priority);
    if (!victim) return false;
    for (const job of [...victim.jobs]) job.refuse?.();
    return true;
  }

  /** The position that a job added now by this caller would have; 1 is next. */
  positionOf(caller: string, priority: number): number {
    const level = levelOf(priority);
    const line = lineOf(level);
    const account = this.#accounts.get(caller);
    const ahead = account ? sumWhere<Level>(account.jobs, (at) => lineOf(at) === line && at <= level) : 0;
    const own = account ? countJobs(account, line) : 0;
    const others = this.#turnCounts[line]!.within(ahead + 1) - Math.min(own, ahead + 1);
    return sumWhere<Line>(this.#lineSizes, (other) => other < line) + ahead + others + 1;
  }

  filter({ priority = 0 }: Readonly<Partial<FairOptions>>): Run[] {
    return [...this.#jobs.values()].filter((job) => job.priority === priority).map(({ run }) => run);
  }

  /** Required by p-queue's interface; the pool never changes a priority. */
  setPriority(): never {
    throw new Error('the priority of a waiting job does not change');
  }

  #first(): Place | undefined {
    return this.#next.first?.places.find((list) => list.first)!.first;
  }

  /** They are few: this looks through all callers. */
  #firstBegun(): Place | undefined {
    for (const level of BEGUN_LEVELS)
      for (const { places } of this.#accounts.values()) {
        const place = places[level]!.first;
        if (place) return place;
      }
    return undefined;
  }

  #placeFor(caller: string, { priority = 0, resumed = false, slots }: Partial<FairOptions>): Place {
    const shared = slots && !resumed ? this.#shared.get(slots) : undefined;
    if (shared) return shared;
    const account = this.#account(caller);
    const level = resumed ? Level.Resumed : levelOf(priority, slots);
    const place = { account, slots: resumed ? undefined : slots, jobs: [], level };
    if (place.slots) this.#shared.set(place.slots, place);
    this.#addPlace(place);
    return place;
  }

  /** A new caller ranks just ahead of the one that was served last. */
  #account(caller: string): Account {
    const existing = this.#accounts.get(caller);
    if (existing) return existing;
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

  #findVictim(caller: string, priority: number): Place | undefined {
    const level = levelOf(priority);
    const line = lineOf(level);
    const lowest = this.#largest[Line.Batch]!.first ? Line.Batch : Line.Interactive;
    const largest = this.#largest[lowest]!.first;
    if (lowest > line) return largest && findLast(largest, lowest);
    const own = this.#accounts.get(caller);
    if (largest && largest.requests[line]! > (own?.requests[line] ?? 0) + 1) return findLast(largest, line);
    const last = own && findLast(own, line);
    return last && last.level > level ? last : undefined;
  }

  /** One choice of the request runs: its other choices are the caller's next and can no longer be evicted. */
  #markBegun(place: Place): void {
    const level = lineOf(place.level) === Line.Batch ? Level.BegunBatch : Level.Begun;
    if (place.level === level || place.level === Level.Resumed) return;
    const { jobs } = place.account;
    jobs[place.level]! -= place.jobs.length;
    jobs[level]! += place.jobs.length;
    if (!isBegun(place.level)) this.#begun += place.jobs.length;
    this.#removePlace(place);
    place.level = level;
    this.#addPlace(place);
  }

  #removeJob(job: Job): void {
    const { place } = job;
    this.#jobs.delete(job.id);
    this.#count(place, -1);
    place.jobs.splice(place.jobs.indexOf(job), 1);
    if (place.jobs.length === 0) {
      this.#removePlace(place);
      if (place.slots) this.#shared.delete(place.slots);
    }
    this.#reorder(place.account);
  }

  /** Updates a caller's rank, or drops the caller once it has no jobs, so that memory does not grow with past callers. */
  #reorder(account: Account): void {
    if (account.jobs.some((jobs) => jobs > 0)) this.#next.put(account);
    else {
      this.#next.delete(account);
      if (account.running <= 0) this.#accounts.delete(account.caller);
    }
  }

  #addPlace(place: Place): void {
    place.account.places[place.level]!.push(place);
    this.#countRequest(place, 1);
  }

  #removePlace(place: Place): void {
    place.account.places[place.level]!.delete(place);
    this.#countRequest(place, -1);
  }

  #count({ account, level }: Place, change: 1 | -1): void {
    const line = lineOf(level);
    const jobs = countJobs(account, line);
    if (change > 0) this.#turnCounts[line]!.grew(jobs + 1);
    else this.#turnCounts[line]!.shrank(jobs);
    account.jobs[level]! += change;
    this.#lineSizes[line]! += change;
    this.#waiting += change;
    if (isBegun(level)) this.#begun += change;
  }

  #countRequest({ account, level }: Place, change: 1 | -1): void {
    if (!isEvictable(level)) return;
    const line = lineOf(level);
    const largest = this.#largest[line]!;
    this.#requests += change;
    account.requests[line]! += change;
    if (account.requests[line]! > 0) largest.put(account);
    else largest.delete(account);
  }
}

/** Links an item to its neighbours, so that it leaves the middle of a list in constant time. */
interface Linked<T> {
  before?: T | undefined;
  after?: T | undefined;
}

/** Items in order of arrival. An item is in one list at a time. */
class LinkedList<T extends Linked<T>> {
  #first: T | undefined;
  #last: T | undefined;

  get first(): T | undefined {
    return this.#first;
  }

  get last(): T | undefined {
    return this.#last;
  }

  push(item: T): void {
    item.before = this.#last;
    item.after = undefined;
    if (this.#last) this.#last.after = item;
    else this.#first = item;
    this.#last = item;
  }

  delete(item: T): void {
    if (item.before) item.before.after = item.after;
    else this.#first = item.after;
    if (item.after) item.after.before = item.before;
    else this.#last = item.before;
  }
}

/** Whether one of the request's choices has had a slot. */
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

function isBegun(level: Level): boolean {
  return BEGUN_LEVELS.some((begun) => begun === level);
}

function isEvictable(level: Level): boolean {
  return !isBegun(level);
}

/** The caller's least urgent request in a line, the newest of several. */
function findLast({ places }: Account, line: Line): Place | undefined {
  return places.findLast((list, level) => lineOf(level) === line && isEvictable(level) && list.last)?.last;
}

function countJobs({ jobs }: Account, line: Line): number {
  return sumWhere<Level>(jobs, (level) => lineOf(level) === line);
}

function sumWhere<I extends number>(counts: readonly number[], which: (index: I) => boolean): number {
  return counts.reduce((sum, count, index) => (which(index as I) ? sum + count : sum), 0);
}

/** The first line in which a caller has waiting jobs. */
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
