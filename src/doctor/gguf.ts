/**
 * Reads the header of a GGUF file: what the model is, without loading it. The file may be anybody's, so every length in
 * it is checked against the bytes there are, and no more than 64 MiB are ever looked at.
 */

/** The file is no usable model; the message is for the user. */
export class GgufError extends Error {
  override readonly name = 'GgufError';
}

type Scalar = string | number | boolean;

export interface GgufHeader {
  readonly version: number;
  /** The wanted fields: numbers, the beginnings of texts, lists of numbers. */
  readonly fields: ReadonlyMap<string, Scalar | readonly number[]>;
  /** The file has at least this many bytes, or it was cut. */
  readonly tensorsEnd: number;
}

/** How much of the file is read, in turn, until the header is whole. Bytes. */
const STEPS = [2 ** 18, 2 ** 22, 2 ** 26] as const;
const MAX_FIELDS = 65_536;
const MAX_TENSORS = 1_000_000;
const MAX_NESTING = 4;
/** Of a text that is kept, characters; of a list, numbers. */
const KEPT_TEXT = 256;
const KEPT_LIST = 4096;
const DEFAULT_ALIGNMENT = 32;

const WANTED =
  /^general\.(architecture|name|alignment)$|^tokenizer\.chat_template$|\.(context_length|block_count|embedding_length|attention\.(head_count|head_count_kv|key_length|value_length))$/;

/** GGUF's value types in the order of their numbers; bytes of one, or what else it is. */
const TYPES = [1, 1, 2, 2, 4, 4, 4, 'bool', 'string', 'array', 8, 8, 8] as const;
const STRING = 8;
const ARRAY = 9;

/** More of the file is needed. */
class NeedMore extends Error {}

/**
 * Reads a header, with as little of the file as that takes.
 *
 * @param readHead gives at most that many bytes of the file's beginning
 * @param size of the file, bytes
 * @throws GgufError, and what `readHead` throws
 */
export async function readGguf(
  readHead: (bytes: number) => Promise<Buffer>,
  size: number,
): Promise<GgufHeader> {
  for (const step of STEPS) {
    const bytes = await readHead(step);
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
  #at = 0;

  constructor(private readonly bytes: Buffer) {}

  read(): GgufHeader {
    if (this.bytes.toString('latin1', 0, 4) !== 'GGUF') {
      throw new GgufError('is no GGUF file: it does not begin with "GGUF"');
    }
    this.#at = 4;
    const version = this.#u32();
    if (version !== 2 && version !== 3) throw new GgufError(`has GGUF version ${version}; 2 and 3 are known`);
    const tensors = this.#count(MAX_TENSORS, 'tensors');
    const fields = this.#fields(this.#count(MAX_FIELDS, 'fields'));
    return { version, fields, tensorsEnd: this.#tensorsEnd(tensors, alignmentOf(fields)) };
  }

  #fields(count: number): Map<string, Scalar | readonly number[]> {
    const fields = new Map<string, Scalar | readonly number[]>();
    for (let i = 0; i < count; i += 1) {
      const key = this.#text();
      const value = this.#value(this.#u32(), 0);
      if (value !== undefined && WANTED.test(key)) fields.set(key, value);
    }
    return fields;
  }

  /** The first byte of the tensor that begins last has to be there. */
  #tensorsEnd(count: number, alignment: number): number {
    let last = 0;
    for (let i = 0; i < count; i += 1) {
      this.#text();
      const dimensions = this.#u32();
      if (dimensions > 8) throw new GgufError('is damaged: a tensor has too many dimensions');
      this.#skip(dimensions * 8 + 4);
      last = Math.max(last, this.#u64());
    }
    return count === 0 ? this.#at : Math.ceil(this.#at / alignment) * alignment + last + 1;
  }

  #value(type: number, depth: number): Scalar | readonly number[] | undefined {
    const kind = TYPES[type];
    if (kind === undefined) throw new GgufError(`is damaged: there is no value type ${type}`);
    if (kind === 'string') return this.#text();
    if (kind === 'array') return this.#array(depth);
    if (kind === 'bool') return this.#take(1)[0] !== 0;
    return numberOf(this.#take(kind), type);
  }

  #array(depth: number): readonly number[] | undefined {
    if (depth === MAX_NESTING) throw new GgufError('is damaged: its lists are nested too deep');
    const type = this.#u32();
    const count = this.#u64();
    const width = TYPES[type];
    if (type === STRING) for (let i = 0; i < count; i += 1) this.#skip(this.#u64());
    else if (type === ARRAY) for (let i = 0; i < count; i += 1) this.#array(depth + 1);
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

  #count(most: number, what: string): number {
    const count = this.#u64();
    if (count > most) throw new GgufError(`is damaged: it claims ${count} ${what}`);
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
    if (length > this.bytes.length - this.#at) throw new NeedMore();
    this.#at += length;
  }

  #take(length: number): Buffer {
    const from = this.#at;
    this.#skip(length);
    return this.bytes.subarray(from, this.#at);
  }
}

/** By the type's number: u8 i8 u16 i16 u32 i32 f32 … u64 i64 f64. */
function numberOf(bytes: Buffer, type: number): number {
  if (type === 6) return bytes.readFloatLE();
  if (type === 12) return bytes.readDoubleLE();
  const signed = type === 1 || type === 3 || type === 5 || type === 11;
  if (bytes.length === 8) return Number(signed ? bytes.readBigInt64LE() : bytes.readBigUInt64LE());
  return signed ? bytes.readIntLE(0, bytes.length) : bytes.readUIntLE(0, bytes.length);
}

function alignmentOf(fields: GgufHeader['fields']): number {
  const given = fields.get('general.alignment');
  return typeof given === 'number' && given >= 1 && given <= 2 ** 20 ? given : DEFAULT_ALIGNMENT;
}
