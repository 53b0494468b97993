import type { RequestHandler } from 'express';
import { LMServError } from '../errors.js';

/** The last handler of a route: 405 for the methods it does not take, with those it does. */
export function only(...methods: readonly string[]): RequestHandler {
  return (_request, response) => {
    response.setHeader('Allow', methods.join(', '));
    throw new LMServError('method_not_allowed');
  };
}
