/** From options and LLM_* variables to checked targets. No message repeats a bad value: it may hold a credential. */

import { InvalidOptionError } from './errors.js';
import type { ClientOptions, GenerateOptions, ProviderName, Target, TargetOptions } from './types.js';

const LAN_BASE = 'http://localhost:8000';
export const OPENAI_BASE = 'https://api.openai.com';
const DEFAULT_MODEL = 'default';
const OPENAI_MODEL = 'gpt-4o-mini';
const PROVIDERS: readonly string[] = ['lan', 'openai', 'local', 'stub'] satisfies ProviderName[];

/**
 * Checks one provider's options and fills in the defaults.
 *
 * @throws InvalidOptionError naming the option and its variable.
 */
export function resolveTarget(options: TargetOptions): Target {
  const provider = providerName(options.provider ?? 'lan');
  const url = new URL(provider === 'local' ? rawUrl(options) : chatUrl(provider, options));
  return {
    provider,
    url: url.href,
    origin: url.origin,
    apiKey: headerValue(options.apiKey),
    model: options.model ?? (provider === 'openai' ? OPENAI_MODEL : DEFAULT_MODEL),
  };
}

/** The target of one call: the client's own, with what the call itself names. */
export function firstTarget(client: TargetOptions, call: GenerateOptions): Target {
  const { provider = client.provider, baseUrl = client.baseUrl, model = client.model } = call;
  const url = call.baseUrl === undefined ? client.url : undefined;
  const unkeyed = resolveTarget({ provider, baseUrl, model, url });
  // A key goes only where it was meant to: not to a server that a single call names.
  const elsewhere = call.baseUrl !== undefined && unkeyed.origin !== resolveTarget(client).origin;
  const apiKey = call.apiKey ?? (elsewhere ? undefined : client.apiKey);
  return { ...unkeyed, apiKey: headerValue(apiKey) };
}

/** The provider to use if `first` fails; undefined if there is none. */
export function fallbackTarget(
  client: ClientOptions,
  call: GenerateOptions,
  first: Target,
): Target | undefined {
  const fallback = client.fallback ?? 'stub';
  if (fallback === 'none') return undefined;
  if (typeof fallback === 'object') return resolveTarget(fallback);
  const provider = providerName(fallback);
  if (provider === first.provider) return undefined;
  // `lan` and `local` are two routes of one server; any other pair are two servers, and the key is for the first alone.
  return isOwnServer(provider) && isOwnServer(first.provider)
    ? firstTarget(client, { ...call, provider })
    : resolveTarget({ provider });
}

const isOwnServer = (provider: ProviderName): boolean => provider === 'lan' || provider === 'local';

function providerName(name: string): ProviderName {
  if (PROVIDERS.includes(name)) return name as ProviderName;
  throw new InvalidOptionError(
    `provider (LLM_PROVIDER, LLM_PROVIDER_FALLBACK) must be one of ${PROVIDERS.join(', ')}`,
  );
}

function chatUrl(provider: ProviderName, options: TargetOptions): string {
  return `${baseUrl(provider, options)}/v1/chat/completions`;
}

function rawUrl(options: TargetOptions): string {
  return isBlank(options.url) ? `${baseUrl('local', options)}/llm` : checkedUrl('url (LLM_URL)', options.url);
}

/** The base without its final slashes and `/v1`, which people write or not. */
function baseUrl(provider: ProviderName, options: TargetOptions): string {
  if (isBlank(options.baseUrl)) return provider === 'openai' ? OPENAI_BASE : LAN_BASE;
  const text = checkedUrl('baseUrl (LLM_BASE_URL)', options.baseUrl);
  if (/[?#]/.test(text))
    throw new InvalidOptionError('baseUrl (LLM_BASE_URL) must have no query and no fragment');
  return text.replace(/\/+$/, '').replace(/\/v1$/, '');
}

function checkedUrl(name: string, text: string): string {
  const url = URL.canParse(text.trim()) ? new URL(text.trim()) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    throw new InvalidOptionError(`${name} must be an address that begins with http:// or https://`);
  }
  if (url.username !== '' || url.password !== '') {
    throw new InvalidOptionError(`${name} must not hold a user name or password; use apiKey (LLM_API_KEY)`);
  }
  return url.href;
}

/** The key as a header can carry it; undefined when it is blank. */
function headerValue(apiKey: string | undefined): string | undefined {
  if (isBlank(apiKey)) return undefined;
  const key = apiKey.trim();
  if (/^[\x21-\x7e]+$/.test(key)) return key;
  throw new InvalidOptionError('apiKey (LLM_API_KEY) must be printable ASCII without spaces');
}

function isBlank(text: string | undefined): text is undefined | '' {
  return text === undefined || text.trim() === '';
}

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
    fallback: fallbackFromEnv(env, provider),
  };
}

/** OpenAI behind another provider has a key of its own: LLM_API_KEY is the first server's secret, not OpenAI's. */
function fallbackFromEnv(
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
