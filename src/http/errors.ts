import type { ErrorRequestHandler, Request } from 'express';
import type { Dialect } from '../dialects/shared/dialect.js';
import { LMServError, openAiError, toLMServError } from '../errors.js';
import type { Logger } from '../observe/logger.js';
import { dropBody } from './body.js';
import { contextOf, queueHeaders } from './context.js';
import type { Turns } from './turns.js';

/**
 * Writes an error in a dialect's form, in OpenAI's if it has none, and keeps it for the log line of the request.
 *
 * @param arrivals of the bytes of bodies that are not read to their end.
 * @param dialectOf the dialect whose form the errors of a request have.
 */
export function errorHandler(
  logger: Logger,
  arrivals: Turns,
  dialectOf: (request: Request) => Dialect | undefined,
): ErrorRequestHandler {
  // Express recognises an error handler by its four parameters.
  return (thrown: unknown, request, response, _next) => {
    const context = contextOf(response);
    if (response.destroyed || response.headersSent) {
      response.destroy();
      return;
    }
    if (!request.complete) dropBody(request, arrivals);
    const error = translate(thrown);
    context.error = error;
    if (error.code === 'internal_error') {
      logger.error(
        { event: 'internal_error', requestId: context.requestId, err: error.cause },
        'unexpected error',
      );
    }
    response.set(queueHeaders(response));
    if (error.retryAfter !== undefined) response.setHeader('Retry-After', error.retryAfter);
    const { body, status = error.status } = dialectOf(request)?.errorBody?.(error, context.requestId) ?? {
      body: { error: openAiError(error) },
    };
    try {
      response.status(status).json(body);
    } catch (err) {
      // Express's default handler would throw again if the body cannot be serialised.
      logger.error(
        { event: 'internal_error', requestId: context.requestId, err },
        'an error could not be sent',
      );
      response.destroy();
    }
  };
}

/** Translates the errors of Express's router by their class and status, never by their text. */
function translate(thrown: unknown): LMServError {
  const { status } = (thrown ?? {}) as { status?: number };
  if (thrown instanceof URIError && status === 400)
    return new LMServError('invalid_http', 'The path cannot be decoded');
  return toLMServError(thrown);
}
