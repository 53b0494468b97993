import { InvalidOptionError } from './errors.js';
import type { ClientOptions, ProviderName, TargetOptions } from './types.js';

export type Env = Readonly<Record<string, string | undefined>>;

/** The process's environment; empty in a browser, where there is no `process`. */
export function ambientEnv(): Env {
  return globalThis.process?.env ?? {};
}

/**
 * The client's options from LLM_PROVIDER, LLM_BASE_URL, LLM_URL, LLM_API_KEY, LLM_MODEL, LLM_TIMEOUT_SECS and
 * LLM_PROVIDER_FALLBACK. A blank variable counts as unset, but a blank LLM_PROVIDER_FALLBACK is `none`.
 *
 * @throws InvalidOptionError for a time-out that is no number; other values are checked by `createClient`.
 */
export function optionsFromEnv(env: Env): ClientOptions {
  const provider = text(env['LLM_PROVIDER']) as ProviderName | undefined;
  return {
    provider,
    baseUrl: text(env['LLM_BASE_URL']),
    url: text(env['LLM_URL']),
    apiKey: text(env['LLM_API_KEY']),
    model: text(env['LLM_MODEL']),
    timeoutSecs: seconds(env['LLM_TIMEOUT_SECS']),
    fallback: fallback(env, provider),
  };
}

/** OpenAI behind another provider has a key of its own: LLM_API_KEY is the first server's secret, not OpenAI's. */
function fallback(
  env: Env,
  provider: ProviderName | undefined,
): ProviderName | 'none' | TargetOptions | undefined {
  const value = env['LLM_PROVIDER_FALLBACK'];
  if (value === undefined) return undefined;
  const name = (text(value) ?? 'none') as ProviderName | 'none';
  if (name !== 'openai' || provider === 'openai') return name;
  return { provider: name, apiKey: env['OPENAI_API_KEY'] };
}

function text(value: string | undefined): string | undefined {
  return value?.trim() || undefined;
}

function seconds(value: string | undefined): number | undefined {
  if (text(value) === undefined) return undefined;
  const number = Number(value);
  if (Number.isFinite(number)) return number;
  throw new InvalidOptionError('LLM_TIMEOUT_SECS must be a number of seconds');
}
