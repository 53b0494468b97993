/** Every failure the client library throws itself. A caller's abort is not one: its reason is passed on unchanged. */

export interface ErrorInfo {
  /** HTTP status; undefined without a response. */
  readonly status?: number | undefined;
  /** The server's error code, or one of ours such as `timeout` or `stream_cut`. */
  readonly code: string;
  /** The server's `x-request-id`, to find the request in its log. */
  readonly requestId?: string | undefined;
  /** Seconds until the server may be asked again. */
  readonly retryAfter?: number | undefined;
  readonly cause?: unknown;
}

/** The base class, never thrown itself. Messages hold no key, and only the origin of an address. */
export class LLMClientError extends Error {
  override readonly name: string = 'LLMClientError';
  readonly status: number | undefined;
  readonly code: string;
  readonly requestId: string | undefined;

  constructor(message: string, info: ErrorInfo) {
    super(message, info.cause === undefined ? undefined : { cause: info.cause });
    this.status = info.status;
    this.code = info.code;
    this.requestId = info.requestId;
  }
}

/** The caller's own mistake, found before anything is sent; no fallback hides it. */
export class InvalidOptionError extends LLMClientError {
  override readonly name = 'InvalidOptionError';

  constructor(message: string) {
    super(message, { code: 'invalid_option' });
  }
}

/** 401 and 403: the key is missing, wrong, or may not do that. */
export class AuthenticationError extends LLMClientError {
  override readonly name = 'AuthenticationError';
}

/** 400, 404, 413 and every other 4xx: the same request will fail again. */
export class BadRequestError extends LLMClientError {
  override readonly name = 'BadRequestError';
}

/** A failure that passes with time. */
class RetryLaterError extends LLMClientError {
  /** Seconds; undefined when the server did not say. */
  readonly retryAfter: number | undefined;

  constructor(message: string, info: ErrorInfo) {
    super(message, info);
    this.retryAfter = info.retryAfter;
  }
}

/** 429: too many requests, or a budget is used up. */
export class RateLimitError extends RetryLaterError {
  override readonly name = 'RateLimitError';
}

/** 503: starting, draining or full. */
export class UnavailableError extends RetryLaterError {
  override readonly name = 'UnavailableError';
}

/** Any other 5xx, or a reply that breaks the protocol (`invalid_response`). */
export class ServerError extends LLMClientError {
  override readonly name = 'ServerError';
}

/** The time-out of this client ran out, or the server answered 408 or 504. */
export class TimeoutError extends LLMClientError {
  override readonly name = 'TimeoutError';
}

/** No reply at all: refused, unknown host, reset before the reply was whole, or a redirect (never followed). */
export class ConnectionError extends LLMClientError {
  override readonly name = 'ConnectionError';
}

/**
 * A reply that is not whole: a stream that ended without `[DONE]` and finish reason or with an error event, or any
 * reply whose finish reason is unknown, such as `abort`.
 */
export class BrokenStreamError extends LLMClientError {
  override readonly name = 'BrokenStreamError';
}

/** The typed error for an unsuccessful HTTP status. */
export function errorForStatus(status: number, message: string, info: ErrorInfo): LLMClientError {
  if (status === 401 || status === 403) return new AuthenticationError(message, info);
  if (status === 408 || status === 504) return new TimeoutError(message, info);
  if (status === 429) return new RateLimitError(message, info);
  if (status === 503) return new UnavailableError(message, info);
  return status < 500 ? new BadRequestError(message, info) : new ServerError(message, info);
}
