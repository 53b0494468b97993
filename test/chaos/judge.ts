import type { Exchange } from './exchange.js';
import type { References } from './references.js';
import { errorCode, type Reply } from './reply.js';
import type { Route } from './routes.js';

/** How a request ended for its client. Only `lost` is never right. */
export type Outcome = 'finished' | 'refused' | 'cancelled' | 'broken' | 'lost';

export interface Verdict {
  readonly outcome: Outcome;
  /** An error code, or what is wrong. */
  readonly reason?: string | undefined;
  /** A finished text is the undisturbed one; undefined where none is known. */
  readonly equal?: boolean;
  /** What is worth showing of a reply that is not as it should be. */
  readonly text?: string;
}

/** What was asked, and so what may come back. */
export type Asked =
  | { readonly kind: 'question'; readonly route: Route; readonly question: string }
  /** A reply of which nothing is known beforehand. */
  | { readonly kind: 'open'; readonly route: Route }
  /** A request that must be refused with that status. */
  | { readonly kind: 'bad'; readonly status: number };

/** Statuses by which the server says that it cannot now. */
const NOT_NOW = [429, 503];

/** Codes by which it says that the generation itself failed, in its own words and llm-connect's. */
const FAILED = ['generation_failed', 'llm_error'];

/** Classifies by what the client saw, and by nothing else. Pure. */
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
  if (reply.end === 'malformed') return { outcome: 'lost', reason: 'not as its contract says', text };
  const foreign = asked.kind === 'question' && foreignText(asked, text, references);
  if (foreign) return { outcome: 'lost', reason: `misrouted: ${foreign}`, text };
  if (reply.end === 'error') return judgeError(reply.code, text);
  if (reply.end === 'cut') return { outcome: 'broken', reason: 'connection cut', text };
  return asked.kind === 'open' ? { outcome: 'finished' } : judgeText(asked, text, references);
}

/** A stream that carries its refusal has status 200, and nothing before it. */
function judgeError(code: string, text: string): Verdict {
  const refused = text === '' && !FAILED.includes(code);
  return { outcome: refused ? 'refused' : 'broken', reason: `in the stream: ${code}`, text };
}

type Question = Extract<Asked, { kind: 'question' }>;

function judgeText({ route, question }: Question, text: string, references: References): Verdict {
  const undisturbed = references.textOf(route.form, question);
  if (text === undisturbed) return { outcome: 'finished', equal: true };
  if (undisturbed.startsWith(text)) return { outcome: 'lost', reason: 'cut without a word', text };
  return { outcome: 'finished', equal: false, text };
}

function foreignText({ route, question }: Question, text: string, references: References) {
  if (text === references.textOf(route.form, question)) return undefined;
  return references.foreignIn(text, route.form, question);
}
