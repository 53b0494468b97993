import type { Exchange } from './exchange.js';
import { errorCode, type Form, type Reply, type Route } from './routes.js';

/** Characters of the beginning and the end of a reply, which identify it. */
const MARK = 48;

/** Shorter pieces occur in other replies by chance. */
const SHORTEST_MARK = 12;

interface Known {
  readonly question: string;
  readonly text: string;
}

/** The undisturbed replies: the text of each question, and the question of a text. Pure. */
export class References {
  readonly #texts = new Map<string, Known>();
  /** By mark: the questions whose replies have it. */
  readonly #marks = new Map<string, Set<string>>();

  add(form: Form, question: string, text: string): void {
    this.#texts.set(keyOf(form, question), { question, text });
    for (const mark of marksOf(text)) {
      const owners = this.#marks.get(mark) ?? new Set();
      this.#marks.set(mark, owners.add(question));
    }
  }

  get size(): number {
    return this.#texts.size;
  }

  /** How many replies belong to one question only within their form. */
  get distinct(): number {
    const forms = new Map<string, number>();
    for (const [key, { text }] of this.#texts) {
      const known = `${key.slice(0, key.indexOf('\n'))}\n${text}`;
      forms.set(known, (forms.get(known) ?? 0) + 1);
    }
    return [...forms.values()].filter((count) => count === 1).length;
  }

  /** @throws if the question has not been recorded. */
  textOf(form: Form, question: string): string {
    return this.#texts.get(keyOf(form, question))!.text;
  }

  /** Another question whose reply appears in this text; undefined if there is none. */
  foreignIn(text: string, form: Form, question: string): string | undefined {
    const own = this.textOf(form, question);
    for (const [mark, owners] of this.#marks)
      if (!owners.has(question) && text.includes(mark) && !own.includes(mark)) return [...owners][0];
    return undefined;
  }
}

function keyOf(form: Form, question: string): string {
  return `${form}\n${question}`;
}

function marksOf(text: string): string[] {
  return text.length < SHORTEST_MARK ? [] : [text.slice(0, MARK), text.slice(-MARK)];
}

/** How a request ended for its client. Only `lost` is never right. */
export type Outcome = 'finished' | 'refused' | 'cancelled' | 'broken' | 'lost';

export interface Verdict {
  readonly outcome: Outcome;
  /** An error code, or what is wrong. */
  readonly reason?: string | undefined;
  /** The finished text is the undisturbed one; undefined if none is known. */
  readonly equal?: boolean;
  /** The text of a reply that is worth showing. */
  readonly text?: string;
}

/** What was sent, and so what may come back. */
export type Asked =
  | { readonly kind: 'question'; readonly route: Route; readonly question: string }
  /** A request whose reply is not known beforehand. */
  | { readonly kind: 'open'; readonly route: Route }
  /** A request that must be refused with that status. */
  | { readonly kind: 'bad'; readonly status: number };

/** Statuses that ask the client to come later. */
const NOT_NOW = [429, 503];

/** Codes of a failed generation, LMServ's and llm-connect's. */
const FAILED = ['generation_failed', 'llm_error'];

/** Classifies only by what the client saw. Pure. */
export function judge(asked: Asked, seen: Exchange, references: References): Verdict {
  if (seen.gaveUp === 'left') return { outcome: 'cancelled' };
  if (seen.gaveUp === 'hung') return { outcome: 'lost', reason: 'no end' };
  if (seen.status === undefined)
    return { outcome: 'broken', reason: `no reply: ${seen.failure ?? 'closed'}` };
  if (seen.status !== 200 || asked.kind === 'bad') return judgeStatus(asked, seen);
  return judgeReply(asked, asked.route.read(seen), references);
}

function judgeStatus(asked: Asked, { status, body, complete }: Exchange): Verdict {
  if (!complete) return { outcome: 'broken', reason: `cut at status ${status}` };
  const code = errorCode(body);
  const planned = asked.kind === 'bad' ? status === asked.status : false;
  if (planned || NOT_NOW.includes(status!)) return { outcome: 'refused', reason: `${status} ${code}` };
  if (status === 500 && FAILED.includes(code)) return { outcome: 'broken', reason: `${status} ${code}` };
  return { outcome: 'lost', reason: `unplanned status ${status} ${code}`, text: body };
}

function judgeReply(asked: Exclude<Asked, { kind: 'bad' }>, reply: Reply, references: References): Verdict {
  const { text } = reply;
  if (reply.end === 'malformed') return { outcome: 'lost', reason: 'violates its contract', text };
  const foreign = asked.kind === 'question' && foreignText(asked, text, references);
  if (foreign) return { outcome: 'lost', reason: `misrouted: ${foreign}`, text };
  if (reply.end === 'error') return judgeError(reply.code, text);
  if (reply.end === 'cut') return { outcome: 'broken', reason: 'connection cut', text };
  return asked.kind === 'open' ? { outcome: 'finished' } : judgeText(asked, text, references);
}

/** A refusal inside a stream has status 200 and no text before it. */
function judgeError(code: string, text: string): Verdict {
  const refused = text === '' && !FAILED.includes(code);
  return { outcome: refused ? 'refused' : 'broken', reason: `in the stream: ${code}`, text };
}

type Question = Extract<Asked, { kind: 'question' }>;

function judgeText({ route, question }: Question, text: string, references: References): Verdict {
  const undisturbed = references.textOf(route.form, question);
  if (text === undisturbed) return { outcome: 'finished', equal: true };
  if (undisturbed.startsWith(text)) return { outcome: 'lost', reason: 'cut silently', text };
  return { outcome: 'finished', equal: false, text };
}

function foreignText({ route, question }: Question, text: string, references: References) {
  if (text === references.textOf(route.form, question)) return undefined;
  return references.foreignIn(text, route.form, question);
}
