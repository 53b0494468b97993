import express, { type RequestHandler } from 'express';
import { LMServError } from '../errors.js';

/** Deeper nesting than this is no request of anybody's; it only serves to overflow somebody's stack. */
const MAX_DEPTH = 100;

const isJson = (type = '') =>
  /^application\/(?:[\w.-]+\+)?json\s*(?:;|$)/i.test(type) && !/;\s*charset\s*=\s*"?(?!utf-?8)/i.test(type);

/** Reads a JSON body of at most `maxBytes` into `request.body`; the size counts after decompression. */
export function jsonBody(maxBytes: number): RequestHandler[] {
  const read = express.raw({ limit: maxBytes, type: () => true });
  const parse: RequestHandler = (request, _response, next) => {
    request.body = parseJson(Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0));
    next();
  };
  const checkType: RequestHandler = (request, _response, next) => {
    const type = request.headers['content-type'];
    if (!isJson(type)) throw new LMServError('unsupported_media_type');
    // Told before the body is read, where the length is announced.
    if (Number(request.headers['content-length'] ?? 0) > maxBytes) throw new LMServError('body_too_large');
    next();
  };
  return [checkType, read, parse];
}

/** @throws LMServError `invalid_json` for what is not JSON in UTF-8, or is nested more than 100 deep. */
export function parseJson(bytes: Buffer): unknown {
  if (bytes.length === 0)
    throw new LMServError('invalid_json', 'The body is empty; a JSON object is expected');
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new LMServError('invalid_json', 'The body is not valid UTF-8');
  }
  checkDepth(text);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // V8's message quotes the body; ours does not.
    throw new LMServError('invalid_json');
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    throw new LMServError('invalid_json', 'The body must be a JSON object');
  }
  return value;
}

function checkDepth(text: string): void {
  let depth = 0;
  let inString = false;
  for (let i = 0; i < text.length; i += 1) {
    const c = text.charCodeAt(i);
    if (inString) {
      if (c === 0x5c) i += 1;
      else if (c === 0x22) inString = false;
    } else if (c === 0x22) inString = true;
    else if (c === 0x7b || c === 0x5b) {
      depth += 1;
      if (depth > MAX_DEPTH)
        throw new LMServError('invalid_json', `The body is nested more than ${MAX_DEPTH} deep`);
    } else if (c === 0x7d || c === 0x5d) depth -= 1;
  }
}
