/** Options of the client and of one call, checked and made into who is asked what. */

import { InvalidOptionError } from './errors.js';
import { fallbackTarget, firstTarget, resolveTarget } from './target.js';
import type { Call, ClientOptions, GenerateOptions, Target } from './types.js';
import { emitWarning } from './warn.js';

const DEFAULT_TIMEOUT_SECS = 60;
/** What setTimeout can hold. */
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

/** Only what JSON would turn into `null` or the server could not mean; its ranges are the server's own affair. */
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
