import {
  AuthenticationError,
  BrokenStreamError,
  ConnectionError,
  LLMClientError,
} from '../../client/errors.js';
import type { Target } from '../../client/types.js';

/** One line that says what went wrong and, where we know it, what to do. */
export function explain(failure: unknown, target: Target | undefined): string {
  if (!(failure instanceof LLMClientError))
    return failure instanceof Error ? failure.message : 'internal error';
  const id = failure.requestId === undefined ? '' : ` (request ${failure.requestId})`;
  return `${what(failure)}${remedy(failure, target)}${id}`;
}

function what(failure: LLMClientError): string {
  return failure instanceof BrokenStreamError
    ? `the reply is incomplete: ${failure.message}`
    : failure.message;
}

function remedy(failure: LLMClientError, target: Target | undefined): string {
  if (failure instanceof AuthenticationError) return '; set LLM_API_KEY to a key of this server';
  if (
    failure instanceof ConnectionError &&
    failure.code === 'ECONNREFUSED' &&
    target?.provider !== 'openai'
  ) {
    return '; start a server with "lmserv serve", or set LLM_BASE_URL to the address of a running server';
  }
  const seconds = 'retryAfter' in failure ? failure.retryAfter : undefined;
  return typeof seconds === 'number' ? `; try again in ${Math.ceil(seconds)} s` : '';
}
