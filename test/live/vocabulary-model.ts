import { isUtf8 } from 'node:buffer';
import { createCipheriv } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeGguf, type GgufTensor, type GgufValue } from '../../bench/model/gguf-writer.js';
import { architecture, layerTensors, norm, toHalf } from '../../bench/model/random-model.js';
import { ROOT } from '../../src/config/root.js';

/** Tiny models of random weights with the vocabularies of real models, which llama.cpp's source brings. */

const FOLDER = join(ROOT, 'vendor/llama.cpp/source/models');

/** llama.cpp's numbers for the types of tokens. */
const NORMAL = 1;
const CONTROL = 3;

export class Vocabulary {
  /** As they are in the file. */
  readonly settings: Readonly<Record<string, GgufValue>>;
  readonly tokens: readonly string[];
  readonly #types: readonly number[];
  readonly #merges: readonly string[];
  readonly #isByteLevel: boolean;

  constructor(name: string) {
    const { settings, lists, model } = readSettings(readFileSync(join(FOLDER, `ggml-vocab-${name}.gguf`)));
    this.settings = settings;
    this.tokens = lists['tokenizer.ggml.tokens'] as string[];
    this.#types = lists['tokenizer.ggml.token_type'] as number[];
    this.#merges = (lists['tokenizer.ggml.merges'] ?? []) as string[];
    this.#isByteLevel = model === 'gpt2';
  }

  /** The names of its control tokens. */
  get control(): string[] {
    return this.tokens.filter((_, id) => this.#types[id] === CONTROL);
  }

  /** Whether a token is whole characters of ordinary text. */
  isText(id: number): boolean {
    const token = this.tokens[id]!;
    if (this.#types[id] !== NORMAL || token === '' || token.includes('\ufffd')) return false;
    // No tokenizer yields them, and no trained model says them.
    if (/^<unused\d+>$/.test(token)) return false;
    if (!this.#isByteLevel) return true;
    const bytes = Buffer.alloc(token.length);
    for (let i = 0; i < token.length; i += 1) {
      const byte = BYTES.get(token[i]!);
      if (byte === undefined) return false;
      bytes[i] = byte;
    }
    return isUtf8(bytes);
  }

  /** Gives the tokens of a character. */
  speller(): (character: string) => number[] {
    const ids = new Map(this.tokens.map((token, id) => [token, id]));
    if (!this.#isByteLevel)
      return (character) => {
        const whole = ids.get(character);
        if (whole !== undefined) return [whole];
        return [...Buffer.from(character)].map((byte) => ids.get(`<0x${byte.toString(16).toUpperCase()}>`)!);
      };
    const ranks = new Map(this.#merges.map((pair, rank) => [pair, rank]));
    return (character) => {
      const parts = [...Buffer.from(character)].map((byte) => BYTE_LETTERS[byte]!);
      for (;;) {
        const order = parts.slice(1).map((part, i) => ranks.get(`${parts[i]} ${part}`) ?? Infinity);
        const first = Math.min(...order);
        if (first === Infinity) return parts.map((part) => ids.get(part)!);
        const at = order.indexOf(first);
        parts.splice(at, 2, parts[at]! + parts[at + 1]!);
      }
    };
  }
}

/** How byte-level vocabularies write each byte: printable ones as they are, the others from U+0100 on. */
const BYTE_LETTERS = (() => {
  let others = 0x100;
  const isPlain = (byte: number) => (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPlain(byte) ? byte : others++));
})();
const BYTES = new Map(BYTE_LETTERS.map((letter, byte) => [letter, byte]));

/** Reads the settings of a GGUF file that belong to its tokenizer. */
function readSettings(file: Buffer) {
  const settings: Record<string, GgufValue> = {};
  const lists: Record<string, unknown[]> = {};
  let model = '';
  let at = 16;
  const uint32 = () => file.readUInt32LE((at += 4) - 4);
  const count = () => Number(file.readBigUInt64LE((at += 8) - 8));
  const text = () => {
    const size = count();
    return file.toString('utf8', at, (at += size));
  };
  const SIZES: Record<number, number> = { 4: 4, 5: 4, 6: 4, 7: 1 };
  const value = (type: number): unknown => {
    if (type === 8) return text();
    if (type === 5) return file.readInt32LE((at += 4) - 4);
    if (type === 9) {
      const [of, length] = [uint32(), count()];
      return Array.from({ length }, () => value(of));
    }
    at += SIZES[type]!;
    return undefined;
  };
  for (let left = count(); left > 0; left -= 1) {
    const key = text();
    const start = at;
    const read = value(uint32());
    if (!key.startsWith('tokenizer.')) continue;
    settings[key] = { type: 'copied', bytes: file.subarray(start, at) };
    if (Array.isArray(read)) lists[key] = read;
    if (key === 'tokenizer.ggml.model') model = read as string;
  }
  return { settings, lists, model };
}

/** A row of a matrix has two blocks of this many weights: the layers write to the first, marks are in the second. */
const BLOCK = 32;
const BLOCK_BYTES = BLOCK + 2;
const ROW_BYTES = 2 * BLOCK_BYTES;
const SHAPE = { width: 2 * BLOCK, layers: 2, heads: 2, hidden: 64, context: 4096 };

/** Where characters of several tokens are looked for: emoji, then scripts that few vocabularies have whole. */
const RANGES = [
  [0x1f300, 0x1fb00],
  [0x0900, 0x1200],
  [0x3400, 0x4000],
] as const;

/**
 * Writes a model that says only valid UTF-8 with many characters of several tokens: any token may follow any other, but
 * what begins a character is followed by its rest, which nothing else is.
 */
export async function writeModel(path: string, vocabulary: Vocabulary): Promise<void> {
  const size = vocabulary.tokens.length;
  const marks = marksOf(vocabulary);
  const begins = (id: number) => marks.before.has(id) && !marks.after.has(id);
  const beginnings = [...marks.before.keys()].filter(begins).length;
  // The likeliest of few tokens is as likely as that of very many only if their weights are larger.
  const boost = 6 / Math.sqrt(2 * Math.log(beginnings + 1));
  const embedding = randomBytes(ROW_BYTES * size, 1);
  const output = randomBytes(ROW_BYTES * size, 2);
  const [small, large, plain, more] = [1 / 128, 32 / 127, 1 / 512, boost / 512].map(toHalf) as [
    number,
    number,
    number,
    number,
  ];
  for (let id = 0, row = 0; id < size; id += 1, row += ROW_BYTES) {
    embedding.writeUInt16LE(small, row);
    embedding.fill(0, row + BLOCK_BYTES, row + ROW_BYTES);
    output.fill(0, row + BLOCK_BYTES, row + ROW_BYTES);
    if (begins(id)) output.writeUInt16LE(more, row);
    else if (!marks.after.has(id) && vocabulary.isText(id)) output.writeUInt16LE(plain, row);
    else output.fill(0, row, row + BLOCK_BYTES);
  }
  const mark = (matrix: Buffer, id: number, scale: number, place: number) => {
    const at = id * ROW_BYTES + BLOCK_BYTES;
    matrix.writeUInt16LE(scale, at);
    matrix[at + 2 + place] = 127;
  };
  for (const [id, place] of marks.before) mark(embedding, id, large, place);
  for (const [id, place] of marks.after) mark(output, id, large, place);
  const shape = [SHAPE.width, size];
  const settings = { ...architecture({ ...SHAPE, vocabulary: size }), ...vocabulary.settings };
  await writeGguf(path, settings, [
    { name: 'token_embd.weight', type: 'q8_0', shape, data: () => embedding },
    norm('output_norm.weight', SHAPE.width),
    { name: 'output.weight', type: 'q8_0', shape, data: () => output },
    ...layerTensors({ ...SHAPE, vocabulary: size }).map(besideMarks),
  ]);
}

/** What writes to the residual stream leaves the marks alone. */
function besideMarks(tensor: GgufTensor): GgufTensor {
  if (!/attn_output|ffn_down/.test(tensor.name)) return tensor;
  return {
    ...tensor,
    data: () => {
      const weights = tensor.data();
      return weights.fill(0, weights.length / 2);
    },
  };
}

/** The same bytes for the same seed, much faster than one by one. */
function randomBytes(size: number, seed: number): Buffer {
  return createCipheriv('aes-128-ctr', Buffer.alloc(16, seed), Buffer.alloc(16)).update(Buffer.alloc(size));
}

/**
 * Places of tokens in the second block: one for each token inside a character, and the same for those before
 * it. A token that ends a character is before no other.
 */
function marksOf(vocabulary: Vocabulary) {
  const before = new Map<number, number>();
  const after = new Map<number, number>();
  const ends = new Set<number>();
  const spell = vocabulary.speller();
  const add = (ids: readonly number[]) => {
    const last = ids.at(-1)!;
    const places = new Map(after);
    for (const id of ids.slice(1)) if (!places.has(id)) places.set(id, places.size);
    const next = (i: number) => places.get(ids[i + 1]!)!;
    const fits = (id: number, i: number) => !ends.has(id) && (before.get(id) ?? next(i)) === next(i);
    const first = ids.slice(0, -1);
    if (first.length === 0 || new Set(ids).size < ids.length || places.size > BLOCK) return;
    if (before.has(last) || !first.every(fits)) return;
    first.forEach((id, i) => before.set(id, next(i)));
    for (const [id, place] of places) after.set(id, place);
    ends.add(last);
  };
  for (const [from, to] of RANGES)
    for (let code = from; code < to && after.size < BLOCK; code += 1) add(spell(String.fromCodePoint(code)));
  return { before, after };
}
