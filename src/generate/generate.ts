import type { Generate, GenerateRequest, JsonObject, Sink } from '../contract.js';
import { LMServError } from '../errors.js';
import { runChoices } from './choices.js';
import { systemClock, type After } from '../time.js';
import { deadline } from './deadline.js';
import { openFirst, type Member, type MemberFailure } from './fallback.js';
import { Tracer } from './trace.js';

/** A model or group by name: who may answer for it, in the order they are tried. */
export interface Resolved {
  readonly members: readonly LimitedMember[];
  /** Longest time to the first token over all members, milliseconds. */
  readonly firstTokenMs?: number | undefined;
}

export interface LimitedMember extends Member {
  readonly maxTokens: TokenLimits;
}

export interface TokenLimits {
  /** When a request names none. */
  readonly standard: number;
  /** More is lowered to it. */
  readonly cap: number;
}

/** Finds who serves a name: model or group, whether an unknown one is the default, provider. */
export type Resolve = (
  model: string | undefined,
  unknownModel: 'default' | undefined,
  provider?: string,
) => Resolved;

export interface GenerateOptions {
  /** Told of each failure that another backend may make good, for the log. */
  readonly onFailure?: (failure: MemberFailure) => void;
  readonly after?: After;
}

/**
 * The one way a generation is run: resolves the model, applies the token limits and the deadline, runs each choice on
 * the first backend that can and merges the choices.
 *
 * @throws LMServError `model_not_found`, `provider_timeout` past the request's own deadline, or what `openFirst`
 *   throws.
 */
export function createGenerate(
  resolve: Resolve,
  { onFailure, after = systemClock.after }: GenerateOptions = {},
): Generate {
  return async function generate(request, context, sink) {
    const { members, firstTokenMs } = resolve(request.model, request.unknownModel, request.provider);
    const tracer = new Tracer(context.trace, sink);
    const limit = deadline(context.signal, request.deadlineMs, overdue, after);
    const slots = request.n === 1 ? undefined : { held: 0 };
    const choice = async (index: number, signal: AbortSignal, into: Sink) => {
      const requestFor = (member: LimitedMember) => limited(choiceOf(request, index), member.maxTokens);
      const choiceContext = { ...context, signal, ...(slots && { slots }) };
      const options = { firstTokenMs, onFailure, after };
      const reply = await openFirst(members, requestFor, choiceContext, into, options);
      await reply.done;
    };
    try {
      if (request.n === 1) await choice(0, limit.signal, tracer);
      else await runChoices(request.n, limit.signal, tracer, choice);
    } finally {
      limit.clear();
      tracer.end();
    }
  };
}

function overdue(ms: number): LMServError {
  return new LMServError('provider_timeout', `The reply was not finished within ${ms / 1000} s`);
}

function limited(request: GenerateRequest, limits: TokenLimits): GenerateRequest {
  const body: JsonObject = request.body;
  const asked = typeof body.max_tokens === 'number' ? body.max_tokens : limits.standard;
  return { ...request, body: { ...body, max_tokens: Math.min(asked, limits.cap) } };
}

/** With a seed of the client's, each choice gets its own, or all would be the same. */
function choiceOf(request: GenerateRequest, index: number): GenerateRequest {
  const seed = request.body.seed;
  const body = index > 0 && typeof seed === 'number' ? { ...request.body, seed: seed + index } : request.body;
  return { ...request, n: 1, body };
}
