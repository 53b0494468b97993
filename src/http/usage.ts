import type { RequestHandler } from 'express';
import type { Caller } from '../contract.js';
import { callerOf } from './context.js';

/** Reads a report of usage. @throws LMServError for a bad query or another's tenant. */
export type ReadUsage = (
  caller: Caller,
  query: Readonly<Record<string, unknown>>,
) => { readonly contentType: string; readonly body: string };

/** `GET /usage`. */
export function usage(read: ReadUsage): RequestHandler {
  return (request, response) => {
    const { contentType, body } = read(callerOf(response), request.query);
    response.setHeader('Content-Type', contentType);
    response.send(body);
  };
}
