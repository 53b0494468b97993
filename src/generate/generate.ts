import type {
  Backend,
  Generate,
  GenerateContext,
  GenerateEvent,
  GenerateRequest,
  JsonObject,
} from '../contract.js';
import { LMServError } from '../errors.js';
import { mergeChoices } from './choices.js';
import { traced } from './trace.js';

/** A model or group by name: which backends may answer for it, in the order they are tried. */
export interface Resolved {
  /** The id that answers are labelled with. */
  readonly model: string;
  readonly backends: readonly Backend[];
  readonly maxTokens: TokenLimits;
}

export interface TokenLimits {
  /** When a request names none. */
  readonly standard: number;
  /** More is lowered to it. */
  readonly cap: number;
}

export type Resolve = (model: string | undefined, unknownModel: 'default' | undefined) => Resolved;

/**
 * The one way a generation is run: resolves the model, applies the token limits, runs each choice on the first
 * backend that can and merges the choices.
 *
 * @throws LMServError `model_not_found`, or what the backends throw.
 */
export function createGenerate(resolve: Resolve): Generate {
  return async function* generate(request, context) {
    const target = resolve(request.model, request.unknownModel);
    context.trace.model = target.model;
    const limited = { ...request, body: limitTokens(request.body, target.maxTokens) };
    const choice = (index: number, signal: AbortSignal) =>
      serve(target.backends, choiceOf(limited, index), { ...context, signal });
    const { signal, trace } = context;
    yield* traced(request.n === 1 ? choice(0, signal) : mergeChoices(request.n, signal, choice), trace);
  };
}

/** Tries one backend after the other until one has given its first token; after that there is no other. */
async function* serve(
  backends: readonly Backend[],
  request: GenerateRequest,
  context: GenerateContext,
): AsyncGenerator<GenerateEvent> {
  let failure: LMServError | undefined;
  for (const backend of backends) {
    let begun = false;
    try {
      context.trace.backend = backend.name;
      for await (const event of backend.generate(request, context)) {
        begun ||= event.type !== 'prefill';
        yield event;
      }
      return;
    } catch (error) {
      if (begun || !(error instanceof LMServError) || !error.retryable || context.signal.aborted) throw error;
      failure ??= error;
      context.trace.attempts += 1;
    }
  }
  throw failure ?? new LMServError('unavailable');
}

function limitTokens(body: JsonObject, limits: TokenLimits): JsonObject {
  const asked = typeof body.max_tokens === 'number' ? body.max_tokens : limits.standard;
  return { ...body, max_tokens: Math.min(asked, limits.cap) };
}

/** With a seed of the client's, each choice gets its own, or all would be the same. */
function choiceOf(request: GenerateRequest, index: number): GenerateRequest {
  const seed = request.body.seed;
  const body = index > 0 && typeof seed === 'number' ? { ...request.body, seed: seed + index } : request.body;
  return { ...request, n: 1, body };
}
