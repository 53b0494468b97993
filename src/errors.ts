/**
 * The table of errors. Every failure that a client can see is an `LMServError` with a code from this table; dialects
 * decide its form on the wire, never its meaning.
 */

interface ErrorRow {
  /** HTTP status. */
  readonly status: number;
  /** OpenAI's error type. */
  readonly type: string;
  /** Another worker or backend, or a later attempt, may succeed. */
  readonly retryable: boolean;
  /** The default message. */
  readonly message: string;
}

const row = (status: number, type: string, retryable: boolean, message: string): ErrorRow => ({
  status,
  type,
  retryable,
  message,
});

const INVALID = 'invalid_request_error';
const SERVER = 'server_error';
const UNAVAILABLE = 'service_unavailable_error';

export const ERRORS = {
  invalid_http: row(400, INVALID, false, 'The request is not valid HTTP'),
  invalid_json: row(400, INVALID, false, 'The body is not valid JSON'),
  invalid_value: row(400, INVALID, false, 'The request is not valid'),
  context_length_exceeded: row(400, INVALID, false, 'The prompt is longer than the context of the model'),
  special_token: row(
    400,
    INVALID,
    false,
    'The text contains control tokens of the model; see SPECIAL_TOKENS',
  ),
  invalid_api_key: row(401, 'authentication_error', false, 'Bad API key'),
  forbidden: row(403, 'permission_error', false, 'This key may not do that'),
  not_found: row(404, INVALID, false, 'There is no such route'),
  model_not_found: row(404, INVALID, false, 'There is no such model'),
  method_not_allowed: row(
    405,
    INVALID,
    false,
    'This route does not accept that method; see the Allow header',
  ),
  request_timeout: row(408, INVALID, true, 'The request did not arrive in time'),
  body_too_large: row(413, INVALID, false, 'The body is larger than MAX_BODY_BYTES'),
  unsupported_media_type: row(415, INVALID, false, 'The body must be application/json, in UTF-8'),
  misdirected_request: row(421, INVALID, false, 'This host name is not served here; see ALLOWED_HOSTS'),
  prompt_quarantined: row(
    422,
    INVALID,
    false,
    'This prompt has crashed workers and is refused for 10 minutes',
  ),
  headers_too_large: row(431, INVALID, false, 'The headers are larger than 16 KiB'),
  rate_limit_exceeded: row(429, 'rate_limit_error', true, 'Too many requests for this key'),
  budget_exceeded: row(429, 'insufficient_quota', false, 'The budget of this tenant is used up'),
  provider_rate_limited: row(
    429,
    'rate_limit_error',
    true,
    'The provider rejected the request because of its rate limit',
  ),
  internal_error: row(500, SERVER, false, 'Internal error'),
  configuration_error: row(500, SERVER, false, 'The provider is not configured'),
  unknown_profile: row(500, SERVER, false, 'There is no such profile or model'),
  not_implemented: row(501, SERVER, false, 'This server cannot do that'),
  generation_failed: row(500, SERVER, true, 'The generation failed'),
  provider_api_error: row(502, SERVER, true, 'The provider returned an error'),
  invalid_response: row(502, SERVER, false, "The model's reply does not have the requested format"),
  starting: row(503, UNAVAILABLE, true, 'Server is starting up'),
  draining: row(503, UNAVAILABLE, true, 'Server is shutting down'),
  bodies_full: row(
    503,
    UNAVAILABLE,
    true,
    'The memory for request bodies is in use; retry later or send smaller bodies',
  ),
  queue_full: row(503, UNAVAILABLE, true, 'All slots are in use and the queue is full'),
  queue_timeout: row(503, UNAVAILABLE, true, 'Timed out waiting for a free slot'),
  unavailable: row(503, UNAVAILABLE, true, 'No backend can serve this request now'),
  insufficient_memory: row(503, UNAVAILABLE, true, 'The model does not fit into memory'),
  provider_timeout: row(504, SERVER, true, 'The provider did not reply in time'),
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof ERRORS;

export interface ErrorDetails {
  /** The invalid field of the request, as a path such as `messages.0.content`. */
  readonly param?: string | undefined;
  /** Seconds after which the client may retry; null if waiting does not help. */
  readonly retryAfter?: number | null | undefined;
  /** The last lines of the worker's stderr, without secrets and paths; only /llm returns them. */
  readonly stderr?: string | undefined;
  /** The HTTP status of a remote provider's reply. */
  readonly providerStatus?: number | undefined;
  readonly cause?: unknown;
}

/** An error that the user can fix: its message says what is wrong and what to do, and is shown without a stack. */
export class UserError extends Error {
  override readonly name: string = this.constructor.name;
}

/** A failure with a code from the table. */
export class LMServError extends Error {
  override readonly name = 'LMServError';
  readonly status: number;
  readonly type: string;
  readonly retryable: boolean;
  readonly param: string | undefined;
  readonly retryAfter: number | undefined;
  readonly stderr: string | undefined;
  readonly providerStatus: number | undefined;

  constructor(
    readonly code: ErrorCode,
    message?: string,
    details: ErrorDetails = {},
  ) {
    const { status, type, retryable, message: defaultMessage } = ERRORS[code];
    super(message ?? defaultMessage, details.cause === undefined ? undefined : { cause: details.cause });
    this.status = status;
    this.type = type;
    this.retryable = retryable;
    this.param = details.param;
    // Without Retry-After, clients retry at once; one second is often enough for a slot or a new worker.
    const retryAfter = details.retryAfter === undefined && status === 503 ? 1 : details.retryAfter;
    this.retryAfter = retryAfter ?? undefined;
    this.stderr = details.stderr;
    this.providerStatus = details.providerStatus;
  }
}

/** Converts anything thrown to an LMServError; unexpected errors become `internal_error`, which hides their message. */
export function toLMServError(thrown: unknown): LMServError {
  if (thrown instanceof LMServError) return thrown;
  return new LMServError('internal_error', undefined, { cause: thrown });
}

/** Builds OpenAI's error object, `{message, type, param, code}`. */
export function openAiError(error: LMServError): {
  message: string;
  type: string;
  param: string | null;
  code: string;
} {
  return { message: error.message, type: error.type, param: error.param ?? null, code: error.code };
}
