import type { UnloadReason } from '../contract.js';
import { fits, shortOf, withMore, without, type Amounts } from './amounts.js';

/** `unloading` lasts until the last process has really exited, because only then its memory is free. */
export type Phase = 'unloaded' | 'loading' | 'loaded' | 'unloading';

/** Free memory; that of idle models too; and a turn, for which busy ones are held. */
export type Claim = 'free' | 'idle' | 'turn';

/** A model as the policy sees it. Times are milliseconds of one monotonic clock. */
export interface ModelView {
  readonly id: string;
  readonly phase: Phase;
  /** What it holds, or will hold once it is loaded. */
  readonly need: Amounts;
  /** It is never evicted or unloaded. */
  readonly pinned: boolean;
  /** It is not unloaded for being idle. */
  readonly kept: boolean;
  /** A reply has begun and is not finished, even if it has lost its worker. */
  readonly running: boolean;
  /** When the oldest request that has not begun came; undefined if none waits. */
  readonly waitingSince: number | undefined;
  /** Only replies that have begun get slots, because it has to make room. */
  readonly held: boolean;
  /** When its last request ended or it was loaded, whichever was later. */
  readonly lastUsed: number;
  readonly loadedAt: number;
  /** How long its requests wait before a busy model has to make room for it. */
  readonly patienceMs: number;
  /** Since when it is to be loaded without a request for it. */
  readonly wantedSince: number | undefined;
  /** What it may take for itself if nobody waits for it. */
  readonly claim: Claim;
  /** An operator wants it unloaded. */
  readonly discarded: boolean;
}

/** What is to be done now. Whatever happens next, a new plan is made from scratch, so that no step waits for another. */
export interface Plan {
  readonly load: readonly string[];
  readonly unload: ReadonlyMap<string, UnloadReason>;
  /** Only replies that have begun get slots of these, so that they become idle. */
  readonly hold: ReadonlySet<string>;
  /** Models that do not fit beside the pinned ones, however long they wait. */
  readonly refuse: readonly string[];
  /** Models that could be loaded, but are waiting for the memory of others. */
  readonly blocked: readonly string[];
  /** When to plan again if nothing happens before. */
  readonly checkAt: number | undefined;
}

export interface Limits {
  /** What all models together may hold. */
  readonly budget: Amounts;
  /** How far they may grow beyond it before idle ones are evicted. */
  readonly margin: Amounts;
  /** Unused models are unloaded after this time, milliseconds; 0 keeps them. */
  readonly idleMs: number;
}

/**
 * Decides which models are loaded and unloaded. Pure.
 *
 * The model whose request came first is loaded first. If it does not fit, the idle models that were used least recently
 * are evicted. If that does not suffice, it waits until others become idle: their requests are served as a group. When it
 * has waited as long as its patience, and each of the others has been loaded for as long, those loaded first are held:
 * their running replies finish, but nothing new begins on them. So models that do not fit together take turns of a
 * bounded length. A model that has lost its patience also keeps what becomes free until it fits, whoever else could use
 * it.
 */
export function plan(models: readonly ModelView[], limits: Limits, now: number): Plan {
  const planner = new Planner(models, limits, now);
  planner.unloadUnused();
  planner.shrink();
  for (const model of models.filter(isWanted).sort(byArrival)) planner.place(model);
  return planner;
}

class Planner implements Plan {
  readonly load: string[] = [];
  readonly unload = new Map<string, UnloadReason>();
  readonly hold = new Set<string>();
  readonly refuse: string[] = [];
  readonly blocked: string[] = [];
  checkAt: number | undefined;
  readonly #models: readonly ModelView[];
  readonly #limits: Limits;
  readonly #now: number;
  /** What is free now, without what was given away in this plan; below 0 where a model waits for others to end. */
  #room: Amounts;
  /** What is free once everything that is ending has ended. */
  #soon: Amounts;

  constructor(models: readonly ModelView[], limits: Limits, now: number) {
    this.#models = models;
    this.#limits = limits;
    this.#now = now;
    this.#room = this.#soon = limits.budget;
    for (const { phase, need } of models) {
      if (phase === 'unloaded') continue;
      this.#room = without(this.#room, need);
      if (phase !== 'unloading') this.#soon = without(this.#soon, need);
    }
  }

  /** Unloads what an operator discards and what was not used for a while. */
  unloadUnused(): void {
    for (const model of this.#models) {
      const { id, phase, running, discarded } = model;
      if (discarded && (phase === 'loaded' || phase === 'loading')) {
        if (running) this.hold.add(id);
        else this.#unload(model, 'operator');
      } else if (phase === 'loaded' && !running && this.#isUnused(model)) this.#unload(model, 'idle');
    }
  }

  /** Evicts idle models while all together have grown beyond the budget and its margin. */
  shrink(): void {
    for (const model of this.#idle()) {
      const over = Object.keys(this.#soon).filter(
        (kind) => this.#soon[kind]! + (this.#limits.margin[kind] ?? 0) < 0,
      );
      if (over.length === 0) return;
      if (!model.kept && over.some((kind) => (model.need[kind] ?? 0) > 0)) this.#unload(model, 'evicted');
    }
  }

  /** Finds memory for a model that is to be loaded. */
  place(model: ModelView): void {
    const { id, need } = model;
    if (!fits(need, this.#besidePinned())) {
      this.refuse.push(id);
      return;
    }
    if (!fits(need, this.#soon) && !this.#makeRoom(model)) return;
    if (fits(need, this.#room)) this.load.push(id);
    else this.blocked.push(id);
    this.#room = without(this.#room, need);
    this.#soon = without(this.#soon, need);
  }

  /** Evicts idle models or holds busy ones; false if it has to wait without any claim to memory. */
  #makeRoom(model: ModelView): boolean {
    const claim = model.waitingSince === undefined ? model.claim : 'turn';
    if (claim === 'free') return false;
    const evicted = this.#choose(model, this.#idle());
    if (evicted) {
      for (const victim of evicted) this.#unload(victim, 'evicted');
      return true;
    }
    if (claim === 'idle') return false;
    const busy = this.#busy();
    const due = busy.filter((victim) => dueAt(model, victim) <= this.#now);
    const held = this.#choose(model, [...this.#idle(), ...due]);
    for (const victim of held ?? []) this.#hold(victim);
    if (held) return true;
    for (const victim of busy) if (!due.includes(victim)) this.#checkAt(dueAt(model, victim));
    const claimsAt = since(model) + model.patienceMs;
    if (claimsAt <= this.#now) {
      // From now on it collects what becomes idle, or smaller models would take that again and again.
      for (const victim of this.#idle().filter((each) => this.#helps(model, each)))
        this.#unload(victim, 'evicted');
      return true;
    }
    this.#checkAt(claimsAt);
    this.blocked.push(model.id);
    return false;
  }

  #helps({ need }: ModelView, candidate: ModelView): boolean {
    return shortOf(need, this.#soon).some((kind) => (candidate.need[kind] ?? 0) > 0);
  }

  /** The first of the candidates that make room together, without those that are not needed; undefined if all do not. */
  #choose({ need }: ModelView, candidates: readonly ModelView[]): ModelView[] | undefined {
    let room = this.#soon;
    const chosen: ModelView[] = [];
    for (const candidate of candidates) {
      const short = shortOf(need, room);
      if (short.length === 0) break;
      if (!short.some((kind) => (candidate.need[kind] ?? 0) > 0)) continue;
      chosen.push(candidate);
      room = withMore(room, candidate.need);
    }
    if (!fits(need, room)) return undefined;
    return chosen.filter((candidate) => {
      const rest = without(room, candidate.need);
      if (!fits(need, rest)) return true;
      room = rest;
      return false;
    });
  }

  /** Models that can be evicted now, the least recently used first. */
  #idle(): ModelView[] {
    return this.#movable()
      .filter(isIdle)
      .sort((a, b) => a.lastUsed - b.lastUsed);
  }

  /** Models that would have to finish first: those that are already doing so, then those that were loaded first. */
  #busy(): ModelView[] {
    return this.#movable()
      .filter((model) => !isIdle(model))
      .sort((a, b) => Number(b.held) - Number(a.held) || a.loadedAt - b.loadedAt);
  }

  #movable(): ModelView[] {
    return this.#models.filter(
      ({ id, phase, pinned, discarded }) =>
        phase === 'loaded' && !pinned && !discarded && !this.unload.has(id) && !this.hold.has(id),
    );
  }

  #besidePinned(): Amounts {
    return this.#models
      .filter(({ phase, pinned }) => pinned && (phase === 'loaded' || phase === 'loading'))
      .reduce((room, { need }) => without(room, need), this.#limits.budget);
  }

  #isUnused(model: ModelView): boolean {
    const { idleMs } = this.#limits;
    if (idleMs === 0 || model.pinned || model.kept || !isIdle(model)) return false;
    const dueAt = model.lastUsed + idleMs;
    if (dueAt > this.#now) this.#checkAt(dueAt);
    return dueAt <= this.#now;
  }

  #unload({ id, need }: ModelView, reason: UnloadReason): void {
    this.unload.set(id, reason);
    this.#soon = withMore(this.#soon, need);
  }

  #hold({ id, need }: ModelView): void {
    this.hold.add(id);
    this.#soon = withMore(this.#soon, need);
  }

  #checkAt(time: number): void {
    this.checkAt = Math.min(this.checkAt ?? Infinity, time);
  }
}

/** A held model with waiting requests has served its turn. */
function isIdle({ running, waitingSince, held }: ModelView): boolean {
  return !running && (waitingSince === undefined || held);
}

function isWanted({ phase, waitingSince, wantedSince, discarded }: ModelView): boolean {
  return phase === 'unloaded' && !discarded && (waitingSince ?? wantedSince) !== undefined;
}

/** Requests come first, then the default model, then pinned ones. */
function byArrival(a: ModelView, b: ModelView): number {
  return rank(a) - rank(b) || since(a) - since(b);
}

function rank({ waitingSince, kept, pinned }: ModelView): number {
  if (waitingSince !== undefined) return 0;
  if (kept) return 1;
  return pinned ? 2 : 3;
}

/** When a busy model has to make room: a model just loaded has its turn first, however long others have waited. */
function dueAt(model: ModelView, victim: ModelView): number {
  return Math.max(since(model), victim.loadedAt) + model.patienceMs;
}

/** Since when it is wanted. */
function since({ waitingSince, wantedSince }: ModelView): number {
  return (waitingSince ?? wantedSince)!;
}

/** A turn is at least this long, milliseconds, or loading would take most of the time. */
const MIN_TURN_MS = 2_000;

/** A turn is at least so many times as long as the load that it costs. */
const LOADS_PER_TURN = 3;

/**
 * How long requests for a model wait before busy models have to make room for it, milliseconds.
 *
 * @param loadMs how long its load takes.
 * @param maxWaitMs when its requests would time out; they must not do so for lack of a turn.
 */
export function patience(loadMs: number, maxWaitMs: number): number {
  return Math.min(Math.max(LOADS_PER_TURN * loadMs, MIN_TURN_MS), maxWaitMs / 3);
}
