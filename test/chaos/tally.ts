import type { Outcome, Verdict } from './judge.js';
import type { Plan } from './plan.js';

/** A notable request, for people to look at. */
interface Example {
  readonly request: number;
  readonly path: string;
  readonly question: string | undefined;
  readonly outcome: Outcome;
  readonly reason: string | undefined;
  readonly text: string | undefined;
}

/** Examples kept of each kind. */
const EXAMPLES = 10;

/** Characters shown of a text. */
const SHOWN = 400;

const NO_OUTCOME: Readonly<Record<Outcome, number>> = {
  finished: 0,
  refused: 0,
  cancelled: 0,
  broken: 0,
  lost: 0,
};

/** Counts what became of the requests. */
export class Tally {
  admitted = 0;
  readonly outcomes: Record<Outcome, number> = { ...NO_OUTCOME };
  /** By outcome and reason. */
  readonly reasons = new Map<string, number>();
  /** Finished texts that were compared with the undisturbed ones, and those that are equal. */
  readonly compared = { all: 0, equal: 0 };
  /** Silent losses by kind. */
  readonly losses = { cut: 0, misrouted: 0, other: 0 };
  /** Replies broken although another worker could have resumed them. */
  brokenPlain = 0;
  /** How long each 503 of a full queue took, milliseconds. */
  readonly queueFullMs: number[] = [];
  readonly examples: Example[] = [];
  readonly #kept: Record<string, number> = {};

  /** A request is sent. */
  admit(): void {
    this.admitted += 1;
  }

  /** What became of one; `ms` is how long it took. */
  add(request: number, { asked, call }: Plan, verdict: Verdict, ms: number): void {
    const { outcome, reason, equal, text } = verdict;
    this.outcomes[outcome] += 1;
    if (reason !== undefined) this.#count(`${outcome}: ${reason}`);
    if (equal !== undefined) this.#compare(equal);
    if (outcome === 'lost') this.losses[kindOfLoss(reason)] += 1;
    if (reason?.endsWith('queue_full')) this.queueFullMs.push(ms);
    const plainBroken = outcome === 'broken' && asked.kind === 'question' && !asked.route.bound;
    if (plainBroken) this.brokenPlain += 1;
    if (outcome !== 'lost' && !plainBroken && equal !== false) return;
    const question = asked.kind === 'question' ? asked.question : undefined;
    this.#keep({ request, path: call.path, question, outcome, reason, text: text?.slice(0, SHOWN) });
  }

  /** Every request that was sent ended in a way that its client can handle. */
  get balanced(): boolean {
    const { finished, refused, cancelled, broken } = this.outcomes;
    return this.admitted === finished + refused + cancelled + broken;
  }

  /** Requests that are still open. */
  get open(): number {
    return this.admitted - Object.values(this.outcomes).reduce((sum, count) => sum + count, 0);
  }

  #compare(equal: boolean): void {
    this.compared.all += 1;
    if (equal) this.compared.equal += 1;
  }

  #count(reason: string): void {
    this.reasons.set(reason, (this.reasons.get(reason) ?? 0) + 1);
  }

  #keep(example: Example): void {
    const kept = (this.#kept[example.outcome] ?? 0) + 1;
    this.#kept[example.outcome] = kept;
    if (kept <= EXAMPLES) this.examples.push(example);
  }
}

function kindOfLoss(reason: string | undefined): 'cut' | 'misrouted' | 'other' {
  if (reason === 'cut silently') return 'cut';
  return reason?.startsWith('misrouted') ? 'misrouted' : 'other';
}
