import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { RequestHandler } from 'express';
import type { Caller } from '../contract.js';
import { toLMServError } from '../errors.js';
import { cutOffWhenStalled } from './connection-end.js';
import { callerOf, contextOf, type RequestContext } from './context.js';

/** Reads a report of usage. @throws LMServError for a bad query or another's tenant. */
export type ReadUsage = (
  caller: Caller,
  query: Readonly<Record<string, unknown>>,
) => Promise<{ readonly contentType: string; readonly pieces: AsyncIterable<string> }>;

/** `GET /usage`, as fast as the client reads it; a client that leaves, or reads nothing for 30 s, ends the report. */
export function usage(read: ReadUsage): RequestHandler {
  return async (request, response) => {
    const { contentType, pieces } = await read(callerOf(response), request.query);
    response.setHeader('Content-Type', contentType);
    if (request.method === 'HEAD') return void response.end();
    cutOffWhenStalled(response);
    // A report that fails now is cut off, as its headers are out; one whose client leaves just ends.
    await pipeline(Readable.from(noting(pieces, contextOf(response))), response).catch(() => undefined);
  };
}

async function* noting(pieces: AsyncIterable<string>, context: RequestContext): AsyncGenerator<string> {
  try {
    yield* pieces;
  } catch (error) {
    context.error = toLMServError(error);
    throw error;
  }
}
