/**
 * Reads the header of a GGUF file: what the model is, without loading it. The file may come from anywhere, so every
 * length in it is checked against the bytes present, and at most 64 MiB are read.
 */

import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { basename } from 'node:path';
import { ModelError } from './spec.js';

/** The file is not a usable model. The message is for the user and follows the file's name. */
export class GgufError extends Error {
  override readonly name = 'GgufError';
}

const MAGIC = 'GGUF';
const NOT_GGUF = `is not a GGUF file: it does not begin with "${MAGIC}"`;

type Scalar = string | number | boolean;

export interface GgufHeader {
  readonly version: number;
  /** The wanted fields: numbers, the beginnings of texts, lists of numbers, and of lists of texts their length. */
  readonly fields: ReadonlyMap<string, Field>;
  readonly tensors: number;
  /** How many numbers the tensors have. */
  readonly parameters: number;
  /** A whole file has at least this many bytes. */
  readonly tensorsEnd: number;
}

export type Field = Scalar | readonly number[];

/** Bytes of the file read in turn until the header is whole. */
const STEPS = [2 ** 18, 2 ** 22, 2 ** 26] as const;
const MAX_FIELDS = 65_536;
const MAX_TENSORS = 1_000_000;
const MAX_NESTING = 4;
/** Characters kept of a text, and numbers kept of a list. */
const KEPT_TEXT = 256;
const KEPT_LIST = 4096;
const DEFAULT_ALIGNMENT = 32;

const WANTED =
  /^general\.(architecture|type|name|file_type|alignment)$|^adapter\.type$|^clip\.projector_type$|^tokenizer\.(chat_template|ggml\.tokens)$|\.(context_length|block_count|embedding_length|feed_forward_length|pooling_type|attention\.(head_count|head_count_kv|key_length|value_length|causal))$/;

/** GGUF's value types in the order of their numbers: the size of one in bytes, or its kind. */
const TYPES = [1, 1, 2, 2, 4, 4, 4, 'bool', 'string', 'array', 8, 8, 8] as const;
const STRING = 8;
const ARRAY = 9;

/** Bytes of a tensor's blocks by the number of its type, with how many numbers such a block holds. */
const BLOCKS: readonly [numbers: number, bytes: Readonly<Record<number, number>>][] = [
  [1, { 0: 4, 1: 2, 24: 1, 25: 2, 26: 4, 27: 8, 28: 8, 30: 2 }],
  [32, { 2: 18, 3: 20, 6: 22, 7: 24, 8: 34, 9: 36, 20: 18, 39: 17 }],
  [64, { 40: 36, 42: 18 }],
  [128, { 41: 18 }],
  [256, { 10: 84, 11: 110, 12: 144, 13: 176, 14: 210, 15: 292, 34: 54, 35: 66 }],
  [256, { 16: 66, 17: 74, 18: 98, 19: 50, 21: 110, 22: 82, 23: 136, 29: 56 }],
];

/** More of the file is needed. */
class NeedMore extends Error {}

/**
 * Reads a header from as little of the file as possible.
 *
 * @param head returns up to that many bytes from the start of the file
 * @param size of the file, bytes
 * @throws GgufError, and what `head` throws
 */
export async function readGguf(
  head: (bytes: number) => Promise<Buffer>,
  size: number,
): Promise<GgufHeader> {
  for (const step of STEPS) {
    const bytes = await head(step);
    const header = parseGguf(bytes);
    if (header) return header;
    if (bytes.length >= size || bytes.length < step) throw new GgufError('ends in the middle of its header');
  }
  throw new GgufError('has a header of more than 64 MiB');
}

/** @returns undefined when the header goes on after these bytes. @throws GgufError */
export function parseGguf(bytes: Buffer): GgufHeader | undefined {
  try {
    return new HeaderReader(bytes).read();
  } catch (error) {
    if (error instanceof NeedMore) return undefined;
    throw error;
  }
}

class HeaderReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  read(): GgufHeader {
    if (!isGguf(this.#bytes)) throw new GgufError(NOT_GGUF);
    this.#at = MAGIC.length;
    const version = this.#u32();
    if (version !== 2 && version !== 3) throw new GgufError(`has GGUF version ${version}; 2 and 3 are known`);
    const tensors = this.#count(MAX_TENSORS, 'tensors');
    const fields = this.#fields(this.#count(MAX_FIELDS, 'fields'));
    return { version, fields, tensors, ...this.#tensors(tensors, alignmentOf(fields)) };
  }

  #fields(count: number): Map<string, Field> {
    const fields = new Map<string, Field>();
    for (let i = 0; i < count; i += 1) {
      const key = this.#text();
      const value = this.#value(this.#u32(), 0);
      if (value !== undefined && WANTED.test(key)) fields.set(key, value);
    }
    return fields;
  }

  /** The file must reach the end of the last tensor; of a type that is unknown here, its first byte. */
  #tensors(count: number, alignment: number): Pick<GgufHeader, 'parameters' | 'tensorsEnd'> {
    let parameters = 0;
    let end = 0;
    for (let i = 0; i < count; i += 1) {
      this.#text();
      const dimensions = this.#u32();
      if (dimensions > 8) throw new GgufError('is damaged: a tensor has too many dimensions');
      let numbers = 1;
      for (let k = 0; k < dimensions; k += 1) numbers *= this.#u64();
      const bytes = tensorBytes(numbers, this.#u32());
      parameters += numbers;
      end = Math.max(end, this.#u64() + bytes);
    }
    const tensorsEnd = count === 0 ? this.#at : Math.ceil(this.#at / alignment) * alignment + end;
    return { parameters, tensorsEnd };
  }

  #value(type: number, depth: number): Field | undefined {
    const kind = TYPES[type];
    if (kind === undefined) throw new GgufError(`is damaged: there is no value type ${type}`);
    if (kind === 'string') return this.#text();
    if (kind === 'array') return this.#array(depth);
    if (kind === 'bool') return this.#take(1)[0] !== 0;
    return numberOf(this.#take(kind), type);
  }

  #array(depth: number): Field | undefined {
    if (depth === MAX_NESTING) throw new GgufError('is damaged: its lists are nested too deep');
    const type = this.#u32();
    const count = this.#u64();
    const width = TYPES[type];
    if (type === STRING) {
      for (let i = 0; i < count; i += 1) this.#skip(this.#u64());
      return count;
    }
    if (type === ARRAY) for (let i = 0; i < count; i += 1) this.#array(depth + 1);
    else if (typeof width === 'number' && count <= KEPT_LIST) {
      return Array.from({ length: count }, () => numberOf(this.#take(width), type));
    } else if (width === undefined) throw new GgufError(`is damaged: there is no value type ${type}`);
    else this.#skip(count * (width === 'bool' ? 1 : Number(width)));
    return undefined;
  }

  #text(): string {
    const length = this.#u64();
    const text = this.#take(length);
    return text.toString('utf8', 0, Math.min(length, KEPT_TEXT));
  }

  #count(max: number, what: string): number {
    const count = this.#u64();
    if (count > max) throw new GgufError(`is damaged: it claims ${count} ${what}`);
    return count;
  }

  #u32(): number {
    return this.#take(4).readUInt32LE();
  }

  #u64(): number {
    const value = this.#take(8).readBigUInt64LE();
    if (value > 2n ** 48n) throw new GgufError(`is damaged: it has a length of ${value}`);
    return Number(value);
  }

  #skip(length: number): void {
    if (length > this.#bytes.length - this.#at) throw new NeedMore();
    this.#at += length;
  }

  #take(length: number): Buffer {
    const from = this.#at;
    this.#skip(length);
    return this.#bytes.subarray(from, this.#at);
  }
}

/** At least one byte is known of a tensor whose type is not. */
function tensorBytes(numbers: number, type: number): number {
  const [each = 1, bytes] = BLOCKS.find(([, types]) => type in types) ?? [];
  return bytes ? Math.ceil(numbers / each) * bytes[type]! : Math.min(numbers, 1);
}

/** By the number of the type: u8 i8 u16 i16 u32 i32 f32 … u64 i64 f64. */
function numberOf(bytes: Buffer, type: number): number {
  if (type === 6) return bytes.readFloatLE();
  if (type === 12) return bytes.readDoubleLE();
  const signed = type === 1 || type === 3 || type === 5 || type === 11;
  if (bytes.length === 8) return Number(signed ? bytes.readBigInt64LE() : bytes.readBigUInt64LE());
  return signed ? bytes.readIntLE(0, bytes.length) : bytes.readUIntLE(0, bytes.length);
}

function alignmentOf(fields: GgufHeader['fields']): number {
  const alignment = fields.get('general.alignment');
  return typeof alignment === 'number' && alignment >= 1 && alignment <= 2 ** 20 ? alignment : DEFAULT_ALIGNMENT;
}

/** @throws ModelError when the file does not begin as GGUF files do; the file system's errors */
export async function requireGguf(file: string, shownAs = basename(file)): Promise<void> {
  if (!isGguf(await readHead(file, MAGIC.length))) throw new ModelError(`${shownAs} ${NOT_GGUF}`);
}

/** Up to that many bytes from the start of a file. @throws the file system's errors */
export async function readHead(path: string, bytes: number): Promise<Buffer> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const buffer = Buffer.alloc(Math.min(bytes, (await handle.stat()).size));
    let filled = 0;
    while (filled < buffer.length) {
      const { bytesRead } = await handle.read(buffer, filled, buffer.length - filled, filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return buffer.subarray(0, filled);
  } finally {
    await handle.close();
  }
}

function isGguf(head: Buffer): boolean {
  return head.toString('latin1', 0, MAGIC.length) === MAGIC;
}
