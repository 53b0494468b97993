import express, { type RequestHandler } from 'express';
import { LMServError } from '../errors.js';
import type { BodyBudget } from './body-budget.js';
import { parseJson } from './json.js';
import type { Turns } from './turns.js';

const isJson = (type = '') =>
  /^application\/(?:[\w.-]+\+)?json\s*(?:;|$)/i.test(type) && !/;\s*charset\s*=\s*"?(?!utf-?8)/i.test(type);

/**
 * Reads a JSON body of at most `maxBytes` into `request.body`, where the budget has room for it; the size counts after
 * decompression. Bodies are parsed in turns, and what follows is done in the same turn.
 */
export function jsonBody(maxBytes: number, budget: BodyBudget, turns: Turns): RequestHandler[] {
  const read = express.raw({ limit: maxBytes, type: () => true });
  const parse: RequestHandler = (request, response, next) => {
    const bytes = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
    budget.settle(response, bytes.length);
    turns.take(() => {
      if (response.destroyed) return;
      try {
        request.body = parseJson(bytes);
      } catch (error) {
        return next(error);
      }
      next();
    });
  };
  const checkType: RequestHandler = (request, _response, next) => {
    const type = request.headers['content-type'];
    if (!isJson(type)) throw new LMServError('unsupported_media_type');
    // Told before the body is read, where the length is announced.
    if (Number(request.headers['content-length'] ?? 0) > maxBytes) throw new LMServError('body_too_large');
    next();
  };
  return [checkType, budget.reserve, read, parse];
}
