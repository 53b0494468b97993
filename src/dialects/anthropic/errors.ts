import type { LMServError } from '../../errors.js';

/** Anthropic's types by HTTP status. Any other below 500 is `invalid_request_error`, any other above `api_error`. */
const TYPES: Readonly<Record<number, string>> = {
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  413: 'request_too_large',
  429: 'rate_limit_error',
  503: 'overloaded_error',
  504: 'timeout_error',
};

/**
 * Builds Anthropic's error, `{type: "error", error: {type, message}, request_id}`. The SDK's tool runner, which asks for a
 * thread on the server, learns from the details to send the whole conversation instead.
 */
export function anthropicError(error: LMServError, requestId: string) {
  const type = TYPES[error.status] ?? (error.status < 500 ? 'invalid_request_error' : 'api_error');
  const details = error.param === 'thread' ? { details: { error_code: 'thread_unsupported_request' } } : {};
  return { type: 'error', error: { type, message: messageOf(error), ...details }, request_id: requestId };
}

/** Agents shorten their conversation when they read Anthropic's words for one that is too long. */
function messageOf({ code, message }: LMServError): string {
  if (code !== 'context_length_exceeded') return message;
  const [length, max] = message.match(/\d+(?= tokens)/g) ?? [];
  return max === undefined
    ? `prompt is too long: ${message}`
    : `prompt is too long: ${length} tokens > ${max} maximum`;
}
