import { open } from 'node:fs/promises';

/** Writes GGUF files, version 3: settings, then the tensors' table, then their bytes at aligned offsets. */

const VERSION = 3;
const ALIGNMENT = 32;

/** GGUF's numbers for the types of values that are written here. */
const TYPE = { uint32: 4, int32: 5, float32: 6, bool: 7, string: 8, array: 9 } as const;

type ScalarType = Exclude<keyof typeof TYPE, 'array'>;

export type GgufValue =
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'uint32' | 'float32'; readonly value: number }
  | { readonly type: 'array'; readonly of: 'string'; readonly values: readonly string[] }
  | { readonly type: 'array'; readonly of: 'int32' | 'float32'; readonly values: readonly number[] }
  /** As another file has it, with its type. */
  | { readonly type: 'copied'; readonly bytes: Buffer };

/** GGML's numbers for the types of tensors, with the bytes of an element; q8_0 has blocks of 32 with a scale of two bytes. */
const TENSOR = {
  f32: { id: 0, bytes: 4 },
  f16: { id: 1, bytes: 2 },
  q8_0: { id: 8, bytes: 34 / 32 },
} as const;

export interface GgufTensor {
  readonly name: string;
  readonly type: keyof typeof TENSOR;
  /** Lengths of its dimensions, the contiguous one first. */
  readonly shape: readonly number[];
  /** Its elements, little-endian; called when it is written, so that only one tensor at a time is in memory. */
  readonly data: () => Uint8Array;
}

const padding = (size: number): number => (ALIGNMENT - (size % ALIGNMENT)) % ALIGNMENT;

const sizeOf = ({ shape, type }: GgufTensor): number =>
  shape.reduce((product, length) => product * length, TENSOR[type].bytes);

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function uint64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([uint64(bytes.length), bytes]);
}

function scalar(type: ScalarType, value: string | number | boolean): Buffer {
  if (type === 'string') return text(String(value));
  if (type === 'bool') return Buffer.from([value ? 1 : 0]);
  const bytes = Buffer.alloc(4);
  if (type === 'float32') bytes.writeFloatLE(Number(value));
  else if (type === 'int32') bytes.writeInt32LE(Number(value));
  else bytes.writeUInt32LE(Number(value));
  return bytes;
}

function encode(value: GgufValue): Buffer {
  if (value.type === 'copied') return value.bytes;
  if (value.type !== 'array')
    return Buffer.concat([uint32(TYPE[value.type]), scalar(value.type, value.value)]);
  const head = [uint32(TYPE.array), uint32(TYPE[value.of]), uint64(value.values.length)];
  return Buffer.concat([...head, ...value.values.map((element) => scalar(value.of, element))]);
}

function describe(tensor: GgufTensor, offset: number): Buffer {
  const { name, shape, type } = tensor;
  return Buffer.concat([
    text(name),
    uint32(shape.length),
    ...shape.map(uint64),
    uint32(TENSOR[type].id),
    uint64(offset),
  ]);
}

/** Everything before the tensors' bytes, padded so that these begin aligned. */
export function ggufHeader(
  settings: Readonly<Record<string, GgufValue>>,
  tensors: readonly GgufTensor[],
): Buffer {
  const pairs = Object.entries(settings).map(([key, value]) => Buffer.concat([text(key), encode(value)]));
  let offset = 0;
  const table = tensors.map((tensor) => {
    const row = describe(tensor, offset);
    offset += sizeOf(tensor) + padding(sizeOf(tensor));
    return row;
  });
  const counts = [uint64(tensors.length), uint64(pairs.length)];
  const head = Buffer.concat([Buffer.from('GGUF'), uint32(VERSION), ...counts, ...pairs, ...table]);
  return Buffer.concat([head, Buffer.alloc(padding(head.length))]);
}

/** @throws the system's error, or an Error if a tensor's data does not fit its shape */
export async function writeGguf(
  path: string,
  settings: Readonly<Record<string, GgufValue>>,
  tensors: readonly GgufTensor[],
): Promise<void> {
  const file = await open(path, 'w');
  try {
    await file.writeFile(ggufHeader(settings, tensors));
    for (const tensor of tensors) {
      const data = tensor.data();
      if (data.length !== sizeOf(tensor)) throw new Error(`${tensor.name}: its data does not fit its shape`);
      await file.writeFile(data);
      await file.writeFile(Buffer.alloc(padding(data.length)));
    }
  } finally {
    await file.close();
  }
}
