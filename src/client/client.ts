/** Checks the options, then asks the first provider, then the fallback; a fallback never continues a reply that has begun. */

import { ambientEnv, optionsFromEnv, fallbackTarget, firstTarget, resolveTarget } from './target.js';
import type {
  Client,
  ClientOptions,
  GenerateOptions,
  Call,
  Target,
  Piece,
  Provider,
  ProviderName,
} from './types.js';
import { InvalidOptionError, LLMClientError } from './errors.js';
import { chat, raw, stub } from './providers.js';

/**
 * A client with options of its own; no environment variable is read, so it works alike in Node and in a browser.
 *
 * @throws InvalidOptionError naming the option that cannot be used.
 */
export function createClient(options: ClientOptions = {}): Client {
  checkOptions(options);
  return {
    generate: async (prompt, call = {}) => complete(makePlan(options, prompt, call)),
    stream: (prompt, call = {}) => texts(makePlan(options, prompt, call)),
  };
}

/** `Client.generate` of a client configured by the LLM_* variables, as they are at the time of the call. */
export async function generate(prompt: string, options?: GenerateOptions): Promise<string> {
  return environmentClient().generate(prompt, options);
}

/** `Client.stream` of a client configured by the LLM_* variables, as they are at the time of the call. */
export function stream(prompt: string, options?: GenerateOptions): AsyncIterable<string> {
  return environmentClient().stream(prompt, options);
}

const environmentClient = (): Client => createClient(optionsFromEnv(ambientEnv()));

const DEFAULT_TIMEOUT_SECS = 60;
/** The longest delay setTimeout accepts. */
const MAX_TIMEOUT_SECS = 2_147_483;

export interface Plan {
  readonly first: Target;
  readonly fallback: Target | undefined;
  readonly call: Call;
  readonly warn: (message: string) => void;
}

/** @throws InvalidOptionError for a value that no call could use. */
export function checkOptions(client: ClientOptions): void {
  timeoutMs(client);
  fallbackTarget(client, {}, resolveTarget(client));
}

/** @throws InvalidOptionError naming the option. */
export function makePlan(client: ClientOptions, prompt: string, options: GenerateOptions): Plan {
  if (typeof prompt !== 'string') throw new InvalidOptionError('prompt must be a string');
  const { system, temperature, maxTokens, signal } = options;
  checkNumbers(temperature, maxTokens);
  const first = firstTarget(client, options);
  return {
    first,
    fallback: fallbackTarget(client, options, first),
    call: { prompt, system, temperature, maxTokens, signal, timeoutMs: timeoutMs(client) },
    warn: client.warn ?? emitWarning,
  };
}

/** Refuses only what JSON would turn into `null` or no server could mean; ranges are for the server to check. */
function checkNumbers(temperature: number | undefined, maxTokens: number | undefined): void {
  if (temperature !== undefined && !Number.isFinite(temperature)) {
    throw new InvalidOptionError('temperature must be a finite number');
  }
  if (maxTokens !== undefined && !(Number.isSafeInteger(maxTokens) && maxTokens >= 1)) {
    throw new InvalidOptionError('maxTokens must be a whole number, 1 or more');
  }
}

function timeoutMs({ timeoutSecs = DEFAULT_TIMEOUT_SECS }: ClientOptions): number {
  if (timeoutSecs > 0 && timeoutSecs <= MAX_TIMEOUT_SECS) return timeoutSecs * 1000;
  throw new InvalidOptionError(
    `timeoutSecs (LLM_TIMEOUT_SECS) must be above 0 and at most ${MAX_TIMEOUT_SECS}`,
  );
}

const PROVIDERS: Readonly<Record<ProviderName, Provider>> = { lan: chat, openai: chat, local: raw, stub };

/** The whole reply. @throws as `Client.generate`. */
async function complete(plan: Plan): Promise<string> {
  const piece = await PROVIDERS[plan.first.provider]
    .complete(plan.first, plan.call)
    .catch((failure: unknown) => {
      const target = takeFallback(plan, failure);
      return PROVIDERS[target.provider].complete(target, plan.call).catch(bothFailed(plan, target, failure));
    });
  warnWhenCut(plan, piece.text !== '', piece.finishReason);
  return piece.text;
}

/** The reply's texts, none of them empty. @throws as `Client.stream`. */
async function* texts(plan: Plan): AsyncGenerator<string> {
  let any = false;
  let reason: string | undefined;
  for await (const { text, finishReason } of pieces(plan)) {
    reason = finishReason ?? reason;
    any ||= text !== '';
    if (text !== '') yield text;
  }
  warnWhenCut(plan, any, reason);
}

/** The reply's pieces, empty ones included. @throws as `Client.stream`. */
export async function* pieces(plan: Plan): AsyncGenerator<Piece> {
  let begun = false;
  async function* read(target: Target): AsyncGenerator<Piece> {
    for await (const piece of PROVIDERS[target.provider].stream(target, plan.call)) {
      begun ||= piece.text !== '';
      yield piece;
    }
  }
  try {
    yield* read(plan.first);
  } catch (first) {
    if (begun) throw first;
    const target = takeFallback(plan, first);
    try {
      yield* read(target);
    } catch (second) {
      if (begun) throw second;
      bothFailed(plan, target, first)(second);
    }
  }
}

/** Returns the fallback after a warning. @throws the failure itself without a fallback, the signal's reason after an abort. */
function takeFallback(plan: Plan, failure: unknown): Target {
  const { call, fallback, first } = plan;
  if (call.signal?.aborted) throw call.signal.reason;
  if (fallback === undefined) throw failure;
  plan.warn(`${first.provider} failed (${describe(failure)}); ${fallback.provider} replies instead`);
  return fallback;
}

/** Throws the first failure, because that is the one to fix; the second goes into the warning. */
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

/** A reply is what the model meant, even an empty one, unless it ended for another reason than `stop`. */
function warnWhenCut(plan: Plan, hasText: boolean, reason: string | undefined): void {
  if (reason === undefined || reason === 'stop') return;
  const what = hasText ? 'cut short' : 'empty';
  plan.warn(`the reply is ${what}, finish_reason ${reason}${reason === 'length' ? ': raise maxTokens' : ''}`);
}

/** Where warnings go by default: Node's own warnings, which `--no-warnings` and `process.on('warning')` know. */
function emitWarning(message: string): void {
  const { process } = globalThis as { process?: Partial<NodeJS.Process> };
  if (typeof process?.emitWarning === 'function') process.emitWarning(message, 'LLMClientWarning');
  else console.warn(`lmserv/client: ${message}`);
}
