import { LMServError, type ErrorCode, type ErrorDetails } from '../../errors.js';
import { StreamTooLong } from '../../wire/sse.js';
import type { Redact } from './redact.js';

/** A failed attempt: the error for the client, and how the backend should react. */
export class RemoteFailure extends Error {
  override readonly name = 'RemoteFailure';
  constructor(
    readonly error: LMServError,
    /** Sending the same request again may succeed. */
    readonly retry: boolean,
    /** It counts against the server, which is down or broken rather than busy or sent an invalid request. */
    readonly unhealthy: boolean,
    /** The delay that the server requested, milliseconds. */
    readonly retryAfterMs?: number,
  ) {
    super(error.message);
  }
}

/** A reply that is not a stream, as far as it was read. */
export interface Refusal {
  readonly status: number;
  readonly retryAfterMs?: number | undefined;
  readonly text: string;
}

/** The provider as errors name it. */
export interface Provider {
  readonly name: string;
  /** Removes credentials and the client's text. */
  readonly clean: Redact;
  readonly hasKey: boolean;
}

/** Max length of a remote server's message that is passed on, characters. */
const MAX_MESSAGE = 500;

/** Codes and types by which servers say that the prompt is too long. */
const TOO_LONG = new Set(['context_length_exceeded', 'exceed_context_size_error', 'string_above_max_length']);

/** vLLM, Anthropic and Ollama say so only in the message. */
const TOO_LONG_WORDS = /\b(context (length|size|window)|prompt is too long)\b/i;

/** Types of a 400 caused by the client: OpenAI's, and vLLM's older one. */
const INVALID = new Set(['invalid_request_error', 'BadRequestError']);

/** Codes of a 400 or 429 that the operator must fix: another attempt would fail too, but another server may not. */
const OPERATORS = new Set(['model_not_found', 'insufficient_quota', 'billing_hard_limit_reached']);

/** Statuses besides 5xx that mean a temporary problem. */
const PASSING = new Set([408, 409, 425]);

/** Turns a reply that is not a stream into a failure. */
export function fromRefusal(provider: Provider, refusal: Refusal): RemoteFailure {
  const said = readError(refusal.text);
  const { status, retryAfterMs } = refusal;
  const make = (code: ErrorCode, message: string, details: ErrorDetails = {}) =>
    new LMServError(code, message, { providerStatus: status, ...details });
  const words = said.message === undefined ? '' : provider.clean(said.message).slice(0, MAX_MESSAGE);
  const told = `The provider ${provider.name} answered ${status}${words === '' ? '' : `: ${words}`}`;
  const retryAfter = retryAfterMs === undefined ? undefined : Math.ceil(retryAfterMs / 1000);
  const tags = [said.code, said.type].filter((tag) => tag !== undefined);
  const operators = tags.some((tag) => OPERATORS.has(tag));

  if (status === 429) {
    const error = make('provider_rate_limited', told, { retryAfter });
    return new RemoteFailure(error, !operators, false, retryAfterMs);
  }
  if (status === 401 || status === 403) {
    const what = provider.hasKey
      ? 'does not accept the configured key'
      : 'requires an API key, but none is configured';
    return new RemoteFailure(
      make('configuration_error', `The provider ${provider.name} ${what}`),
      false,
      false,
    );
  }
  if (status >= 500 || PASSING.has(status)) {
    const error = make('provider_api_error', told, { retryAfter });
    // A server that says when to retry is working, however busy it is.
    const busy = status === 503 && retryAfterMs !== undefined;
    return new RemoteFailure(error, true, status >= 500 && !busy, retryAfterMs);
  }
  if (isTooLong(status, tags, words)) {
    return new RemoteFailure(make('context_length_exceeded', words, { param: 'messages' }), false, false);
  }
  if (status === 400 && !operators && tags.some((tag) => INVALID.has(tag))) {
    return new RemoteFailure(make('invalid_value', words || told, paramOf(said, provider)), false, false);
  }
  const redirect = status >= 300 && status < 400;
  const message = redirect
    ? `The provider ${provider.name} answered with a redirect (${status}), which is never followed`
    : told;
  return new RemoteFailure(make('provider_api_error', message), false, redirect);
}

function isTooLong(status: number, tags: readonly string[], words: string): boolean {
  if (status !== 400 && status !== 413) return false;
  return tags.some((tag) => TOO_LONG.has(tag)) || TOO_LONG_WORDS.test(words);
}

function paramOf(said: Said, { clean }: Provider): ErrorDetails {
  return said.param === undefined ? {} : { param: clean(said.param).slice(0, 100) };
}

interface Said {
  readonly message?: string;
  readonly type?: string;
  readonly code?: string;
  readonly param?: string;
}

/** Reads the error from a JSON body: OpenAI's form, or the simpler ones of other servers. */
function readError(text: string): Said {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    // A proxy's HTML page is of no use to a client.
    return text.trimStart().startsWith('<') ? {} : strings({ message: text.trim() });
  }
  return readFields((body ?? {}) as Record<string, unknown>);
}

function readFields(body: Record<string, unknown>): Said {
  const { error, message, detail } = body;
  if (error !== null && typeof error === 'object') return strings(error as Record<string, unknown>);
  return strings({ ...body, message: [error, message, detail].find((part) => isText(part)) });
}

function strings(fields: Record<string, unknown>): Said {
  const named = ['message', 'type', 'code', 'param'].map((name) => [name, fields[name]] as const);
  return Object.fromEntries(named.filter(([, value]) => isText(value)));
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '';
}

/** An error that the server reported inside its stream. */
export function fromStreamedError(provider: Provider, error: unknown): RemoteFailure {
  const words = readFields({ error }).message;
  const told = words === undefined ? '' : `: ${provider.clean(words).slice(0, MAX_MESSAGE)}`;
  return broken(`The provider ${provider.name} broke off its reply${told}`);
}

/** A stream that ended early or is malformed. */
export function broken(message: string, cause?: Error): RemoteFailure {
  return new RemoteFailure(new LMServError('generation_failed', message, { cause }), true, true);
}

/** The connection failed or broke. */
export function fromConnection(provider: Provider, thrown: unknown, answered: boolean): RemoteFailure {
  const code = codeOf(thrown);
  const cause = new Error(provider.clean(thrown instanceof Error ? thrown.message : 'unknown'));
  if (code === 'UND_ERR_CONNECT_TIMEOUT') {
    const message = `The provider ${provider.name} could not be connected to in time`;
    return new RemoteFailure(new LMServError('provider_timeout', message, { cause }), true, true);
  }
  if (thrown instanceof StreamTooLong)
    return broken(`The provider ${provider.name} sent an event of more than 1 Mi characters`);
  if (answered) return broken(`The provider ${provider.name} broke off its reply (${code})`, cause);
  const message = `The provider ${provider.name} cannot be reached (${code})`;
  return new RemoteFailure(new LMServError('provider_api_error', message, { cause }), true, true);
}

/** Only codes such as ECONNREFUSED, because a message may contain anything. */
function codeOf(thrown: unknown): string {
  const code = (thrown as { code?: unknown } | null)?.code;
  return typeof code === 'string' && /^[A-Z0-9_]{1,40}$/.test(code) ? code : 'connection failed';
}
