import type { JsonObject } from '../../contract.js';
import { LMServError, type ErrorCode, type ErrorDetails } from '../../errors.js';
import { StreamTooLong } from '../../wire/sse.js';
import { anyOf } from './phrases.js';
import { readProviderError, type ProviderError } from './provider-error.js';
import type { Redact } from './redact.js';
import { findRejected, type Rejection } from './rejected-fields.js';

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
    /** The fields of the request that the server rejects. */
    readonly rejection?: Rejection,
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

/** The provider as errors name it, and what it was sent. */
export interface Provider {
  readonly name: string;
  readonly sent: JsonObject;
  /** Removes credentials and the client's text. */
  readonly clean: Redact;
  readonly hasKey: boolean;
}

/** Max length of a remote server's message that is passed on, characters. */
const MAX_MESSAGE = 500;

/** Codes and types by which servers say that the prompt is too long. */
const TOO_LONG = new Set(['context_length_exceeded', 'exceed_context_size_error', 'string_above_max_length']);

/** Most servers say so in the message, some only there. */
const TOO_LONG_WORDS = anyOf(
  /\bcontext (length|size|window|limit)\b/,
  /\b(prompt|input|request|message|string)s? (is |are |was )?too (long|large)/,
  /maximum prompt length|too many (input )?tokens|reduce the length of/,
  /token (limit|count).{0,40} exceed|exceed.{0,40} token limit/,
  /input (length|tokens?).{0,80}(exceed|must be|should be|less than)/,
  /`inputs` (tokens|must)/,
);

/** A failure of the server may mention the context too. */
const EXCEEDED = /exceed|too (long|large)|longer|larger|greater|maximum|reduce/i;

/** Types of a 400 caused by the client: OpenAI's, vLLM's, Google's, FastAPI's, TGI's, Mistral's; Azure's and DashScope's filters. */
const INVALID = anyOf(
  /^invalid_(request|value|argument|parameter|type)\w*$/,
  /^(bad_?request|validation|value_error|content_)\w*$/,
  /^(\w*_parameter|extra_forbidden|data_inspection_failed)$/,
);

/** Codes of a 400 or 429 that the operator must fix: another attempt would fail too, but another server may not. */
const OPERATORS = new Set(['model_not_found', 'insufficient_quota', 'billing_hard_limit_reached']);

/** Google answers 400 to a wrong key. */
const BAD_KEY = /\bapi key (is )?(not valid|invalid|not found|expired)|(invalid|incorrect) api key/i;

/** What a model cannot do; some servers say so with 404 or 500. */
const INCAPABLE = anyOf(
  /\b(image|vision|multimodal|audio|video|tool|function)\w*\b[^.]{0,60}(\bnot|n't|\bun)\s?(be )?(support|allow|accept|enabled)/,
  /(not|n't|no|none|cannot)\b[^.]{0,60}\b(support|accept|take|process|handle|use)\w*\b[^.]{0,40}\b(image|vision|multimodal|audio|video|tool|function)/,
);

/** Statuses that errors without one mean by their codes and types. */
const STATUS_OF_TAG: readonly (readonly [RegExp, number])[] = [
  [/^(rate_limit\w*|too_many_requests|resource_exhausted|insufficient_quota)$/i, 429],
  [/^(invalid_api_key|authentication_error|unauthenticated|permission_\w+)$/i, 401],
];

/** Statuses besides 5xx that mean a temporary problem. */
const PASSING = new Set([408, 409, 425]);

/** Turns a reply that is not a stream into a failure. */
export function fromRefusal(provider: Provider, { status, text, retryAfterMs }: Refusal): RemoteFailure {
  return classify(provider, readProviderError(text), status, retryAfterMs);
}

/** Turns an error that came with status 200, as the whole reply or inside its stream, into a failure. */
export function fromReportedError(provider: Provider, body: unknown): RemoteFailure {
  const said = readProviderError(body);
  const tagged = STATUS_OF_TAG.find(([pattern]) => said.tags.some((tag) => pattern.test(tag)));
  const status = said.status ?? tagged?.[1] ?? (isClients(provider, said) ? 400 : undefined);
  if (status !== undefined) return classify(provider, said, status, undefined);
  const words = wordsOf(provider, said);
  return broken(`The provider ${provider.name} broke off its reply${words === '' ? '' : `: ${words}`}`);
}

function isClients(provider: Provider, said: ProviderError): boolean {
  return (
    said.tags.some((tag) => TOO_LONG.has(tag) || INVALID.test(tag)) ||
    isTooLong(400, said, wordsOf(provider, said)) ||
    INCAPABLE.test(said.words)
  );
}

function wordsOf(provider: Provider, { words }: ProviderError): string {
  return words === '' ? '' : provider.clean(words).slice(0, MAX_MESSAGE);
}

function classify(
  provider: Provider,
  said: ProviderError,
  status: number,
  retryAfterMs: number | undefined,
): RemoteFailure {
  const words = wordsOf(provider, said);
  const told = `The provider ${provider.name} answered ${status}${words === '' ? '' : `: ${words}`}`;
  const retryAfter = retryAfterMs === undefined ? undefined : Math.ceil(retryAfterMs / 1000);
  const make = (code: ErrorCode, message: string, details: ErrorDetails = {}) =>
    new LMServError(code, message, { providerStatus: status, ...details });
  const isOperators = said.tags.some((tag) => OPERATORS.has(tag)) || said.fields.includes('model');

  if (status === 429) {
    const error = make('provider_rate_limited', told, { retryAfter });
    return new RemoteFailure(error, !isOperators, false, retryAfterMs);
  }
  if (status === 401 || status === 403 || (status === 400 && BAD_KEY.test(words))) {
    const what = provider.hasKey
      ? 'does not accept the configured key'
      : 'requires an API key, but none is configured';
    return new RemoteFailure(
      make('configuration_error', `The provider ${provider.name} ${what}`),
      false,
      false,
    );
  }
  if (isTooLong(status, said, words)) {
    return new RemoteFailure(
      make('context_length_exceeded', words || told, { param: 'messages' }),
      false,
      false,
    );
  }
  const rejection = findRejected(provider.sent, [...said.tags, words].join(' '), said.fields);
  if (!isOperators && isInvalid(status, said, words, rejection)) {
    const param = paramOf(provider, said, rejection, words);
    const error = make('invalid_value', words || told, param === undefined ? {} : { param });
    return new RemoteFailure(error, false, false, undefined, rejection);
  }
  if (status >= 500 || PASSING.has(status)) {
    const error = make('provider_api_error', told, { retryAfter });
    // A server that says when to retry is working, however busy it is.
    const busy = status === 503 && retryAfterMs !== undefined;
    return new RemoteFailure(error, true, status >= 500 && !busy, retryAfterMs);
  }
  const redirect = status >= 300 && status < 400;
  const message = redirect
    ? `The provider ${provider.name} answered with a redirect (${status}), which is never followed`
    : told;
  return new RemoteFailure(make('provider_api_error', message), false, redirect);
}

/** 413 is the server's limit for the body. */
function isTooLong(status: number, { tags }: ProviderError, words: string): boolean {
  if (status === 413 || tags.some((tag) => TOO_LONG.has(tag))) return true;
  if (status !== 400 && status !== 422 && status < 500) return false;
  return TOO_LONG_WORDS.test(words) && (status < 500 || EXCEEDED.test(words));
}

/** Whether the server understood the request and cannot serve it as it is; a client or another server may help. */
function isInvalid(
  status: number,
  { tags }: ProviderError,
  words: string,
  rejection: Rejection | undefined,
): boolean {
  if (status === 422 || ((status === 404 || status >= 500) && INCAPABLE.test(words))) return true;
  // Some servers fail on fields that they do not know.
  if (status !== 400) return status >= 500 && rejection?.lasting === true;
  return rejection !== undefined || INCAPABLE.test(words) || tags.some((tag) => INVALID.test(tag));
}

function paramOf(
  { clean }: Provider,
  { fields }: ProviderError,
  rejection: Rejection | undefined,
  words: string,
): string | undefined {
  const named = fields.find((path) => rejection?.fields.some((field) => path.startsWith(field)));
  const param = named ?? rejection?.fields[0] ?? fields[0];
  if (param !== undefined) return clean(param).slice(0, 100);
  const incapable = INCAPABLE.exec(words);
  if (!incapable) return undefined;
  return /tool|function/i.test(incapable[0]) ? 'tools' : 'messages';
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
