import { LMServError } from '../errors.js';
import { checkShape } from '../wire/json-shape.js';

/**
 * Reads a JSON object.
 *
 * @throws LMServError `invalid_json` for what is not a JSON object in UTF-8, is nested more than 100 deep, has a key
 *   twice in one object, or more values than one body should have.
 */
export function parseJson(bytes: Buffer): object {
  if (bytes.length === 0)
    throw new LMServError('invalid_json', 'The body is empty; a JSON object is expected');
  const text = decode(bytes);
  checkShape(text);
  const value = parse(text);
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    throw new LMServError('invalid_json', 'The body must be a JSON object');
  }
  return value;
}

function decode(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new LMServError('invalid_json', 'The body is not valid UTF-8');
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    // V8's message quotes the body; ours does not.
    throw new LMServError('invalid_json');
  }
}
