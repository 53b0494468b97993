/** When a circuit opens, and for how long. */
export interface CircuitLimits {
  /** Consecutive failures that open it. */
  readonly failures: number;
  /** How long it first stays open, milliseconds; doubles each time it opens without a success in between. */
  readonly firstMs: number;
  readonly longestMs: number;
}

const CIRCUIT_LIMITS: CircuitLimits = { failures: 5, firstMs: 1_000, longestMs: 60_000 };

/** Permission for one attempt, to be returned with the outcome. */
export interface Permit {
  probe: boolean;
}

/**
 * A circuit breaker: keeps requests away from a server that fails. Pure: clock (milliseconds) and randomness are
 * passed in.
 *
 * While closed, it admits all attempts until `failures` in a row have failed. Then it opens for a jittered time and
 * admits none. After that it admits one at a time as a probe, whose first token closes the circuit and whose failure
 * opens it again for longer. Attempts that began before it opened no longer count.
 */
export class Circuit {
  readonly #limits: CircuitLimits;
  readonly #random: () => number;
  #failures = 0;
  /** How often it has opened since the last complete success. */
  #level = 0;
  /** undefined while closed. */
  #openUntil: number | undefined;
  #probing = false;

  constructor(limits: CircuitLimits = CIRCUIT_LIMITS, random: () => number = Math.random) {
    this.#limits = limits;
    this.#random = random;
  }

  /** Whether it is still too early for a probe. */
  isOpen(now: number): boolean {
    return this.#openUntil !== undefined && now < this.#openUntil;
  }

  /** A permit, or undefined while the circuit is open or its probe is running. */
  enter(now: number): Permit | undefined {
    if (this.#openUntil === undefined) return { probe: false };
    if (now < this.#openUntil || this.#probing) return undefined;
    this.#probing = true;
    return { probe: true };
  }

  /** Milliseconds until a probe may be admitted; 0 if it may be now or one is running. */
  waitMs(now: number): number {
    return Math.max(0, (this.#openUntil ?? now) - now);
  }

  /** The first token has arrived: other attempts need not wait for the end of a probe. */
  onFirstToken(permit: Permit): void {
    if (!permit.probe) return;
    this.#close();
    permit.probe = false;
  }

  /** The attempt succeeded, or failed with an error that only a healthy server returns. */
  onSuccess(permit: Permit): void {
    this.onFirstToken(permit);
    if (this.#openUntil !== undefined) return;
    this.#failures = 0;
    this.#level = 0;
  }

  /** The server caused a failure. @returns for how many milliseconds the circuit is now open, if this opened it. */
  onFailure(permit: Permit, now: number): number | undefined {
    if (permit.probe) return this.#open(now);
    if (this.#openUntil !== undefined) return undefined;
    this.#failures += 1;
    return this.#failures >= this.#limits.failures ? this.#open(now) : undefined;
  }

  /** The attempt ended without a verdict, because the client left first. */
  onCancelled(permit: Permit): void {
    if (permit.probe) this.#probing = false;
  }

  #close(): void {
    this.#openUntil = undefined;
    this.#probing = false;
    this.#failures = 0;
  }

  #open(now: number): number {
    const bound = Math.min(this.#limits.longestMs, this.#limits.firstMs * 2 ** this.#level);
    const ms = bound * (0.5 + this.#random() / 2);
    this.#level += 1;
    this.#probing = false;
    this.#openUntil = now + ms;
    return ms;
  }
}
