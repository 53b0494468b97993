import type {
  AskTokens,
  Capability,
  Evaluate,
  Generate,
  GenerateRequest,
  JsonObject,
  RequestDefaults,
  Sink,
} from '../contract.js';
import { LMServError } from '../errors.js';
import type { Logger } from '../observe/logger.js';
import { runChoices } from './choices.js';
import { systemClock, type After } from '../time.js';
import { openFirst, tryFirst, type Member, type MemberFailure } from './fallback.js';
import { Tracer } from './trace.js';

/** A model or group by name, with the backends that may serve it in the order they are tried. */
export interface Resolved {
  readonly members: readonly LimitedMember[];
  /** Max time to the first token over all members, milliseconds. */
  readonly firstTokenMs?: number | undefined;
}

export interface LimitedMember extends Member {
  readonly maxTokens: TokenLimits;
  /** From the configuration, of the model under the name by which it was asked for. */
  readonly defaults?: RequestDefaults | undefined;
}

export interface TokenLimits {
  /** For requests without a limit; undefined means no limit but the cap. */
  readonly default: number | undefined;
  /** Higher limits are lowered to this. */
  readonly cap: number;
}

/** A cap that is none: the largest number llama.cpp reads. */
export const NO_CAP = 2_147_483_647;

/**
 * Finds the backends for a name. Takes the model or group, how to treat an unknown one, the provider, and what the
 * backends must be able to do.
 */
export type Resolve = (
  model: string | undefined,
  unknownModel: 'default' | undefined,
  provider?: string,
  capability?: Capability,
) => Resolved;

export interface GenerateOptions {
  /** Called for each failure after which another backend may be tried, for the log. */
  readonly onFailure?: (failure: MemberFailure) => void;
  /** Receives a debug line at every decision. */
  readonly logger?: Logger | undefined;
  readonly after?: After;
}

/**
 * Makes the function that runs every generation: it resolves the model, applies the token limits and the deadline, runs
 * each choice on the first backend that can and merges the choices.
 *
 * @throws LMServError `model_not_found`, `provider_timeout` past the request's own deadline, or what `openFirst`
 *   throws.
 */
export function createGenerate(
  resolve: Resolve,
  { onFailure, logger, after = systemClock.after }: GenerateOptions = {},
): Generate {
  return async function generate(request, context, sink) {
    const { n, deadlineMs, model, unknownModel, provider, kind } = request;
    const capability = kind === 'chat' ? 'chat' : 'completion';
    const { members, firstTokenMs } = resolve(model, unknownModel, provider, capability);
    const tracer = new Tracer(context, sink, (facts, message) =>
      logger?.debug({ ...facts, requestId: context.requestId }, message),
    );
    const options = { firstTokenMs, onFailure, after };
    const ownContext = n === 1 ? context : { ...context, slots: { held: 0 } };
    const choice = async (index: number, into: Sink) => {
      const requestFor = ({ maxTokens, defaults, backend }: LimitedMember) => {
        requireContext(request, backend.facts?.().contextLength);
        return limited(completed(choiceOf(request, index), defaults), maxTokens);
      };
      const reply = await openFirst(members, requestFor, ownContext, into, options);
      await reply.done;
    };
    const cancelDeadline =
      deadlineMs === undefined ? undefined : after(deadlineMs, () => context.abort(overdue(deadlineMs)));
    try {
      if (n === 1) await choice(0, tracer);
      else await runChoices(n, context.abort, tracer, choice, choicesOfPrompt(request));
      tracer.end();
    } catch (error) {
      tracer.end(error);
      throw error;
    } finally {
      cancelDeadline?.();
    }
  };
}

/** Makes the function that evaluates inputs. A group's limit for its first token does not hold: there is none. */
export function createEvaluate(
  resolve: Resolve,
  { onFailure, logger }: Omit<GenerateOptions, 'after'> = {},
): Evaluate {
  return async function evaluate(request, context) {
    const { members } = resolve(request.model, undefined, undefined, request.task);
    const tracer = new Tracer(context, NOWHERE, (facts, message) =>
      logger?.debug({ ...facts, requestId: context.requestId }, message),
    );
    try {
      const evaluation = await tryFirst(
        members,
        ({ backend }, own) => backend.evaluate!(request, own, tracer),
        ...([context, tracer, { onFailure }] as const),
      );
      tracer.event({ type: 'prefill', promptTokens: evaluation.promptTokens });
      tracer.end();
      return evaluation;
    } catch (error) {
      tracer.end(error);
      throw error;
    }
  };
}

const NOWHERE: Sink = { event: () => undefined };

/**
 * Makes the function that answers questions about tokens.
 *
 * @throws LMServError `model_not_found`, `invalid_value` if no backend of the model can, or what the backend throws.
 */
export function createAskTokens(resolve: Resolve): AskTokens {
  return async (question, signal) => {
    const chat = question.about === 'prompt' ? 'chat' : undefined;
    const { members } = resolve(question.model, undefined, undefined, chat);
    const able = members.find(({ backend }) => backend.askTokens !== undefined);
    if (!able) throw new LMServError('invalid_value', NOT_ANSWERED, { param: 'model' });
    return able.backend.askTokens!(question, signal);
  };
}

const NOT_ANSWERED = 'model: only the server that this model runs on knows its tokens';

/** @throws LMServError `context_length_exceeded` if the client wants more context than there is. */
function requireContext({ contextLength: wanted }: GenerateRequest, available = Infinity): void {
  if (wanted === undefined || wanted <= available) return;
  const message = `num_ctx: the context of this model has ${available} tokens`;
  throw new LMServError('context_length_exceeded', message, { param: 'num_ctx' });
}

function overdue(ms: number): LMServError {
  return new LMServError('provider_timeout', `The reply was not finished within ${ms / 1000} s`);
}

/** Fills in what the request leaves open: from the model's defaults, otherwise from those of its route. */
function completed(request: GenerateRequest, ofModel: RequestDefaults = {}): GenerateRequest {
  const { defaults: ofRoute = {}, ...rest } = request;
  const body: JsonObject = { ...ofRoute.sampling, ...ofModel.sampling, ...request.body };
  const system = ofModel.system ?? ofRoute.system;
  if (request.kind === 'chat' && system !== undefined && !hasSystem(body.messages as JsonObject[]))
    body.messages = [{ role: 'system', content: system }, ...(body.messages as JsonObject[])];
  return { ...rest, body };
}

/** `developer` is OpenAI's newer name of the role. */
function hasSystem(messages: readonly JsonObject[]): boolean {
  return messages.some(({ role }) => role === 'system' || role === 'developer');
}

/** Without any limit the field is left out, because the largest number is more than some providers accept. */
function limited(request: GenerateRequest, limits: TokenLimits): GenerateRequest {
  const { max_tokens: requested = limits.default ?? NO_CAP, ...others } = request.body;
  const limit = Math.min(requested as number, limits.cap);
  return { ...request, body: limit === NO_CAP ? others : { ...others, max_tokens: limit } };
}

function choicesOfPrompt({ n, prompts }: GenerateRequest): number {
  return prompts ? n / prompts.length : n;
}

/** The request for one choice. With a seed, each choice of a prompt gets a different one, or all would be the same. */
function choiceOf(request: GenerateRequest, index: number): GenerateRequest {
  const { prompts, ...single } = request;
  const each = choicesOfPrompt(request);
  const body = { ...request.body };
  if (prompts) body.prompt = prompts[Math.floor(index / each)]!;
  if (typeof body.seed === 'number') body.seed += index % each;
  return { ...single, n: 1, body };
}
