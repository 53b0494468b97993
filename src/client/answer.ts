/** Carries a plan out: the first provider, then the fallback, and never a second answer behind a begun one. */

import { chat } from './chat.js';
import { LLMClientError } from './errors.js';
import type { Plan } from './plan.js';
import { raw } from './raw.js';
import { stub } from './stub.js';
import type { Piece, Provider, ProviderName, Target } from './types.js';

const PROVIDERS: Readonly<Record<ProviderName, Provider>> = { lan: chat, openai: chat, local: raw, stub };

/** The whole answer. @throws as `Client.generate`. */
export async function complete(plan: Plan): Promise<string> {
  const piece = await PROVIDERS[plan.first.provider]
    .complete(plan.first, plan.call)
    .catch((failure: unknown) => {
      const target = takeFallback(plan, failure);
      return PROVIDERS[target.provider].complete(target, plan.call).catch(bothFailed(plan, target, failure));
    });
  warnWhenEmpty(plan, piece.text, piece.finishReason);
  return piece.text;
}

/** The answer's texts, none of them empty. @throws as `Client.stream`. */
export async function* texts(plan: Plan): AsyncGenerator<string> {
  let any = false;
  let reason: string | undefined;
  for await (const { text, finishReason } of pieces(plan)) {
    reason = finishReason ?? reason;
    any ||= text !== '';
    if (text !== '') yield text;
  }
  warnWhenEmpty(plan, any ? 'any' : '', reason);
}

/** The answer's pieces, empty ones included. @throws as `Client.stream`. */
export async function* pieces(plan: Plan): AsyncGenerator<Piece> {
  let begun = false;
  let failure: unknown;
  try {
    for await (const piece of open(plan, plan.first)) {
      begun ||= piece.text !== '';
      yield piece;
    }
    return;
  } catch (thrown) {
    if (begun) throw thrown;
    failure = thrown;
  }
  yield* fallbackPieces(plan, failure);
}

async function* fallbackPieces(plan: Plan, failure: unknown): AsyncGenerator<Piece> {
  const target = takeFallback(plan, failure);
  let begun = false;
  try {
    for await (const piece of open(plan, target)) {
      begun ||= piece.text !== '';
      yield piece;
    }
  } catch (thrown) {
    if (begun) throw thrown;
    bothFailed(plan, target, failure)(thrown);
  }
}

const open = ({ call }: Plan, target: Target): AsyncGenerator<Piece> =>
  PROVIDERS[target.provider].stream(target, call);

/** The fallback, after warning of it. @throws the failure itself when it is the caller's abort or nobody is left. */
function takeFallback(plan: Plan, failure: unknown): Target {
  const { call, fallback, first } = plan;
  if (call.signal?.aborted) throw call.signal.reason;
  if (fallback === undefined) throw failure;
  plan.warn(`${first.provider} failed (${describe(failure)}); ${fallback.provider} answers instead`);
  return fallback;
}

/** The first failure is the one to mend, so that is thrown; the second is in the warning. */
function bothFailed(plan: Plan, target: Target, first: unknown): (second: unknown) => never {
  return (second) => {
    if (plan.call.signal?.aborted) throw plan.call.signal.reason;
    plan.warn(`the fallback ${target.provider} failed too (${describe(second)})`);
    throw first;
  };
}

function describe(failure: unknown): string {
  if (!(failure instanceof LLMClientError)) return 'internal error';
  const id = failure.requestId === undefined ? '' : `, request ${failure.requestId}`;
  return `${failure.name} ${failure.code}: ${failure.message}${id}`;
}

/** An empty answer may be what the model meant; one that ended for another reason is not. */
function warnWhenEmpty(plan: Plan, text: string, reason: string | undefined): void {
  if (text !== '' || reason === undefined || reason === 'stop') return;
  plan.warn(`the answer is empty, finish_reason ${reason}${reason === 'length' ? ': raise maxTokens' : ''}`);
}
