import type { JsonObject } from '../contract.js';
import { LMServError } from '../errors.js';

/** No legitimate request nests deeper than this; 100,000 levels crash a worker. */
const MAX_DEPTH = 100;

/**
 * Max list items and object members in a body, all of which are visited several times without a pause. More than the
 * token ids that fit a context.
 */
const MAX_VALUES = 150_000;

/** Max keys of all objects in a body. Each costs as much as ten list items. */
const MAX_KEYS = 20_000;

/** Up to this many keys are compared one by one, which is faster than hashing them. */
const FEW = 8;

const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/**
 * Checks a JSON text in one pass for what `JSON.parse` accepts but should not: deep nesting, too many values, and
 * duplicate keys in an object, of which two readers might use different ones. Only the keys of open objects are kept.
 * For a text that is not JSON the result is undefined; the parser decides.
 *
 * @param allowDuplicates accepts duplicate keys, as in text from a model.
 * @throws LMServError `invalid_json`; the message gives the position and quotes nothing.
 */
export function checkShape(text: string, allowDuplicates = false): void {
  const open: (Keys | undefined)[] = [];
  /** The keys of the object whose next string is a key. */
  let keys: Keys | undefined;
  let values = 0;
  let names = 0;
  for (let i = 0; i < text.length; i += 1) {
    switch (text.charCodeAt(i)) {
      case QUOTE: {
        const end = findStringEnd(text, i + 1);
        if (keys && (names += 1) > MAX_KEYS) throw tooMany(`${MAX_KEYS} keys`);
        if (keys?.add(text.slice(i + 1, end)) === false) throw duplicateKey(i);
        keys = undefined;
        i = end;
        break;
      }
      case COMMA:
        if ((values += 1) > MAX_VALUES) throw tooMany(`${MAX_VALUES} values`);
        keys = open.at(-1);
        break;
      case OPEN_OBJECT:
      case OPEN_LIST:
        if (open.length === MAX_DEPTH) throw tooDeep();
        if ((values += 1) > MAX_VALUES) throw tooMany(`${MAX_VALUES} values`);
        keys = text.charCodeAt(i) === OPEN_OBJECT && !allowDuplicates ? new Keys() : undefined;
        open.push(keys);
        break;
      case CLOSE_OBJECT:
      case CLOSE_LIST:
        open.pop();
        keys = undefined;
    }
  }
}

/** The position of a string's closing quote, searched from `from`; the text's length if there is none. */
function findStringEnd(text: string, from: number): number {
  for (let start = from; ;) {
    const quote = text.indexOf('"', start);
    if (quote < 0) return text.length;
    let before = quote;
    while (before > start && text.charCodeAt(before - 1) === BACKSLASH) before -= 1;
    if ((quote - before) % 2 === 0) return quote;
    start = quote + 1;
  }
}

/** The keys of one object. */
class Keys {
  #few: string[] = [];
  #many: Set<string> | undefined;

  /** Adds a key as written in the JSON text; returns false for a duplicate. */
  add(raw: string): boolean {
    const key = raw.includes('\\') ? unescape(raw) : raw;
    if (this.#many) {
      const { size } = this.#many;
      return this.#many.add(key).size > size;
    }
    if (this.#few.includes(key)) return false;
    if (this.#few.push(key) === FEW) this.#many = new Set(this.#few);
    return true;
  }
}

/** Resolves escapes: `\u0061` is `a`. An invalid key is returned unchanged, for the parser to reject. */
function unescape(raw: string): string {
  try {
    return JSON.parse(`"${raw}"`) as string;
  } catch {
    return raw;
  }
}

function tooDeep(): LMServError {
  return new LMServError('invalid_json', `The body is nested more than ${MAX_DEPTH} levels deep`);
}

function tooMany(what: string): LMServError {
  return new LMServError('invalid_json', `The body has more than ${what}`);
}

/** The message does not quote the key, which could be anything, even a prompt. */
function duplicateKey(position: number): LMServError {
  return new LMServError(
    'invalid_json',
    `The body has a duplicate key in one object, at character ${position}`,
  );
}

/** Whether a JSON value is an object. */
export function isObject(value: unknown): value is JsonObject {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

/** The value of a JSON text; a text that is not JSON is itself the value. */
export function jsonOrText(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}
