import { LMServError } from '../errors.js';

/** Deeper nesting than this only serves to overflow somebody's stack: 100,000 levels end a worker. */
export const MAX_DEPTH = 100;

/**
 * Items of lists and members of objects in one body: more than any prompt of token ids that a context holds; each of them is
 * looked at several times in one go.
 */
const MAX_VALUES = 150_000;

/** Keys of all objects in one body. Each costs as much as ten items of a list. */
const MAX_KEYS = 20_000;

/** Up to so many keys of an object are compared one by one, which is quicker than to hash them. */
const FEW = 8;

const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/**
 * Looks at a JSON text, in one pass, for what `JSON.parse` takes but nobody should: deep nesting, and a key that is
 * twice in one object, of which each reader on the way might believe another; and for more values than one body should
 * have. It holds the keys of open objects only.
 * A text that is not JSON may pass, or be refused: the parser has the last word.
 *
 * @param anyKeys whether keys may be repeated, as in what a model wrote.
 * @throws LMServError `invalid_json`; the message says where, and quotes nothing.
 */
export function checkShape(text: string, anyKeys = false): void {
  const open: (Keys | undefined)[] = [];
  /** The keys of the object whose next string is a key. */
  let keys: Keys | undefined;
  let values = 0;
  let names = 0;
  for (let i = 0; i < text.length; i += 1) {
    switch (text.charCodeAt(i)) {
      case QUOTE: {
        const end = endOfString(text, i + 1);
        if (keys && (names += 1) > MAX_KEYS) throw tooMany(`${MAX_KEYS} keys`);
        if (keys?.add(text.slice(i + 1, end)) === false) throw twice(i);
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
        keys = text.charCodeAt(i) === OPEN_OBJECT && !anyKeys ? new Keys() : undefined;
        open.push(keys);
        break;
      case CLOSE_OBJECT:
      case CLOSE_LIST:
        open.pop();
        keys = undefined;
    }
  }
}

/** Where the string that began before `from` has its closing quote; the text's length when it has none. */
function endOfString(text: string, from: number): number {
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

  /** False when the key, as the JSON text has it, is there already. */
  add(raw: string): boolean {
    const key = raw.includes('\\') ? unescaped(raw) : raw;
    if (this.#many) {
      const { size } = this.#many;
      return this.#many.add(key).size > size;
    }
    if (this.#few.includes(key)) return false;
    if (this.#few.push(key) === FEW) this.#many = new Set(this.#few);
    return true;
  }
}

/** What the parser will make of a key: `\u0061` is `a`. A broken one stays as it is, for the parser to refuse. */
function unescaped(raw: string): string {
  try {
    return JSON.parse(`"${raw}"`) as string;
  } catch {
    return raw;
  }
}

function tooDeep(): LMServError {
  return new LMServError('invalid_json', `The body is nested more than ${MAX_DEPTH} deep`);
}

function tooMany(what: string): LMServError {
  return new LMServError('invalid_json', `The body has more than ${what}`);
}

/** The key may be anything, a prompt as well: its place says enough. */
function twice(position: number): LMServError {
  return new LMServError(
    'invalid_json',
    `The body has a key twice in one object, the second time at character ${position}`,
  );
}
