/** When a circuit opens and how long it stays so. */
export interface CircuitLimits {
  /** Failures in a row that open it. */
  readonly failures: number;
  /** How long it is open the first time, milliseconds; each time without a success in between doubles that. */
  readonly firstMs: number;
  readonly longestMs: number;
}

export const CIRCUIT_LIMITS: CircuitLimits = { failures: 5, firstMs: 1_000, longestMs: 60_000 };

/** Leave to try, to be handed back with what became of it. */
export interface Ticket {
  probe: boolean;
}

/**
 * A circuit breaker: keeps requests away from a server that fails. Pure: clock (milliseconds) and randomness are
 * handed in.
 *
 * Closed, it lets everything through until `failures` attempts in a row have failed. Then it is open for a jittered
 * time and nothing is let through. After that one request at a time is let through as a probe: its first token closes
 * the circuit, its failure opens it again for longer. Attempts that began before it opened no longer count.
 */
export class Circuit {
  #failures = 0;
  /** How often it opened since the last whole success. */
  #level = 0;
  /** undefined while closed. */
  #openUntil: number | undefined;
  #probing = false;

  constructor(
    private readonly limits: CircuitLimits = CIRCUIT_LIMITS,
    private readonly random: () => number = Math.random,
  ) {}

  /** Nothing would be let through now, and no probe is on its way. */
  isOpen(now: number): boolean {
    return this.#openUntil !== undefined && now < this.#openUntil;
  }

  /** Leave to try, or undefined when the circuit is open or its one probe is on its way. */
  enter(now: number): Ticket | undefined {
    if (this.#openUntil === undefined) return { probe: false };
    if (now < this.#openUntil || this.#probing) return undefined;
    this.#probing = true;
    return { probe: true };
  }

  /** Milliseconds until a probe may be let through; 0 when it may now or one is on its way. */
  waitMs(now: number): number {
    return Math.max(0, (this.#openUntil ?? now) - now);
  }

  /** The first token has come. A probe need not hold up the others for the rest of its reply. */
  alive(ticket: Ticket): void {
    if (!ticket.probe) return;
    this.#close();
    ticket.probe = false;
  }

  /** The attempt ended well, or with an answer that only a healthy server gives. */
  succeeded(ticket: Ticket): void {
    this.alive(ticket);
    if (this.#openUntil !== undefined) return;
    this.#failures = 0;
    this.#level = 0;
  }

  /** The attempt failed by the server's fault. @returns milliseconds the circuit is now open for, if this opened it. */
  failed(ticket: Ticket, now: number): number | undefined {
    if (ticket.probe) return this.#open(now);
    if (this.#openUntil !== undefined) return undefined;
    this.#failures += 1;
    return this.#failures >= this.limits.failures ? this.#open(now) : undefined;
  }

  /** The attempt ended without a verdict: the client went away first. */
  withdrawn(ticket: Ticket): void {
    if (ticket.probe) this.#probing = false;
  }

  #close(): void {
    this.#openUntil = undefined;
    this.#probing = false;
    this.#failures = 0;
  }

  #open(now: number): number {
    const bound = Math.min(this.limits.longestMs, this.limits.firstMs * 2 ** this.#level);
    const ms = bound * (0.5 + this.random() / 2);
    this.#level += 1;
    this.#probing = false;
    this.#openUntil = now + ms;
    return ms;
  }
}
