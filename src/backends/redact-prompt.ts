import type { JsonObject } from '../contract.js';

/** Shorter client texts are too common to distinguish from a server's own words. Characters. */
const SHORTEST_TEXT = 4;

/** This many consecutive characters that also occur in a client's text are treated as a quote. */
const RUN = 16;

/** Characters of a text that are examined; the remainder is cut off. */
const MAX_TEXT = 4096;

/** Characters of an image that are looked for: a quote of one begins where it begins. */
const MAX_IMAGE = 65_536;

const REPLACEMENT = '[prompt]';

/**
 * Servers and workers may quote the request in errors; this replaces the client's text by `[prompt]`: texts of at least
 * four characters that are quoted whole, and any sixteen consecutive characters of a longer one. Control characters
 * count as blanks. Texts longer than 4 Ki characters are cut. Takes linear time in the size of the prompt.
 */
export function withoutPrompt(text: string, body: JsonObject): string {
  // A quote that begins before the cut must be seen whole.
  const seen = new Quotes(text.slice(0, MAX_TEXT + RUN));
  const walk = (value: unknown): void => {
    if (typeof value === 'string') seen.mark(value);
    else if (value !== null && typeof value === 'object') Object.values(value).forEach(walk);
  };
  walk([body.prompt, body.suffix ?? null, contents(body.messages)]);
  return seen.replaced(MAX_TEXT);
}

/** Only the contents: errors need the words used as roles. */
function contents(messages: unknown): unknown {
  if (!Array.isArray(messages)) return [];
  return (messages as JsonObject[]).map(({ content, reasoning_content, tool_calls }) => [
    typeof content === 'string' || !Array.isArray(content) ? content : content.map(partText),
    reasoning_content,
    tool_calls,
  ]);
}

function partText(part: unknown): unknown {
  const { text, image_url: image } = part as { text?: string; image_url?: { url?: string } };
  return text ?? image?.url?.slice(0, MAX_IMAGE);
}

/** Finds which parts of a short text are quotes of long ones. */
class Quotes {
  readonly #text: string;
  readonly #blanked: string;
  readonly #quoted: Uint8Array;
  /** Where each run of a length begins, by length and text. */
  readonly #places = new Map<number, Map<string, number[]>>();
  /** Number of unmarked runs per hash; this alone rules out nearly all of a prompt. */
  readonly #unmarked = new Uint16Array(2 ** HASH_BITS);

  constructor(text: string) {
    this.#text = text;
    this.#blanked = blanked(text);
    this.#quoted = new Uint8Array(text.length);
  }

  /** Marks where a text occurs; for a text of at least `RUN` characters, where any run of it occurs. */
  mark(text: string): void {
    if (text.length < SHORTEST_TEXT) return;
    const length = Math.min(text.length, RUN);
    const places = this.#placesOf(length);
    let hash = 0;
    for (let at = 0; at < text.length; at += 1) {
      hash = (Math.imul(hash, BASE) + codeAt(text, at)) | 0;
      if (at >= length) hash = (hash - Math.imul(LEAVING, codeAt(text, at - length))) | 0;
      if (at < length - 1 || this.#unmarked[hash >>> HASH_SHIFT] === 0) continue;
      const run = blanked(text.slice(at + 1 - length, at + 1));
      this.#unmarked[hash >>> HASH_SHIFT]! -= this.#markRun(places, run);
    }
  }

  /** The text's first `length` characters with each quote replaced. */
  replaced(length: number): string {
    const text = this.#text.slice(0, length);
    let clean = '';
    let start = 0;
    for (let at = 0; at < text.length; at += 1) {
      if (this.#quoted[at] === 0) continue;
      clean += text.slice(start, at) + REPLACEMENT;
      while (at < text.length && this.#quoted[at] === 1) at += 1;
      start = at;
    }
    return clean + text.slice(start);
  }

  /** Marks a run and returns at how many unmarked places it occurs. */
  #markRun(places: Map<string, number[]>, run: string): number {
    const starts = places.get(run) ?? [];
    for (const start of starts) this.#quoted.fill(1, start, start + run.length);
    places.delete(run);
    return starts.length;
  }

  #placesOf(length: number): Map<string, number[]> {
    const known = this.#places.get(length);
    if (known !== undefined) return known;
    const places = new Map<string, number[]>();
    for (let start = 0; start + length <= this.#blanked.length; start += 1) {
      const run = this.#blanked.slice(start, start + length);
      const starts = places.get(run);
      if (starts === undefined) places.set(run, [start]);
      else starts.push(start);
      this.#unmarked[hashOf(run) >>> HASH_SHIFT]! += 1;
    }
    this.#places.set(length, places);
    return places;
  }
}

/** Replaces each control character by a blank. */
function blanked(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, ' ');
}

function codeAt(text: string, at: number): number {
  const code = text.charCodeAt(at);
  return code < 0x20 || (code >= 0x7f && code <= 0x9f) ? 0x20 : code;
}

/** A text has some 4,000 runs of a length, so one in 30 lookups of a prompt's runs fails; the table takes 256 KiB. */
const HASH_BITS = 17;
const HASH_SHIFT = 32 - HASH_BITS;

/** Odd and different in each process, so that a client cannot craft a prompt whose hashes collide. */
const BASE = Math.floor(Math.random() * 2 ** 30) * 2 + 1;

/** BASE to the power of RUN in 32 bits: the factor of a character that leaves a run of that length. */
const LEAVING = Array.from({ length: RUN }).reduce<number>((power) => Math.imul(power, BASE), 1);

function hashOf(run: string): number {
  let hash = 0;
  for (let at = 0; at < run.length; at += 1) hash = (Math.imul(hash, BASE) + codeAt(run, at)) | 0;
  return hash;
}
