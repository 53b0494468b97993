/** Writes GGUF headers for tests. */

export type Entry = readonly [key: string, type: keyof typeof WRITERS, value: unknown];

const bytes = (length: number, write: (buffer: Buffer) => void): Buffer => {
  const buffer = Buffer.alloc(length);
  write(buffer);
  return buffer;
};

export const u32 = (value: number) => bytes(4, (buffer) => buffer.writeUInt32LE(value));
export const u64 = (value: number | bigint) => bytes(8, (buffer) => buffer.writeBigUInt64LE(BigInt(value)));
export const text = (value: string) => Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)]);

const list = (type: number, items: Buffer[]) => Buffer.concat([u32(type), u64(items.length), ...items]);

const WRITERS = {
  u8: [0, (value: unknown) => Buffer.of(value as number)],
  i32: [5, (value: unknown) => bytes(4, (buffer) => buffer.writeInt32LE(value as number))],
  u32: [4, (value: unknown) => u32(value as number)],
  f32: [6, (value: unknown) => bytes(4, (buffer) => buffer.writeFloatLE(value as number))],
  bool: [7, (value: unknown) => Buffer.of(value ? 1 : 0)],
  string: [8, (value: unknown) => text(value as string)],
  u64: [10, (value: unknown) => u64(value as number)],
  f64: [12, (value: unknown) => bytes(8, (buffer) => buffer.writeDoubleLE(value as number))],
  u32s: [9, (value: unknown) => list(4, (value as number[]).map(u32))],
  strings: [9, (value: unknown) => list(8, (value as string[]).map(text))],
  /** Bytes that follow the type number of a list. */
  raw: [9, (value: unknown) => value as Buffer],
} as const;

export interface Tensor {
  readonly offset: number;
  readonly type: number;
  readonly dimensions: readonly number[];
}

export interface Extras {
  readonly version?: number;
  /** Where each tensor begins; of one number (f32), if that is all. */
  readonly tensors?: readonly (number | Tensor)[];
  readonly fieldCount?: number | bigint;
  readonly tensorCount?: number | bigint;
}

export function gguf(entries: readonly Entry[], extras: Extras = {}): Buffer {
  const { version = 3, tensors = [], fieldCount = entries.length, tensorCount = tensors.length } = extras;
  const fields = entries.map(([key, type, value]) => {
    const [number, write] = WRITERS[type];
    return Buffer.concat([text(key), u32(number), write(value)]);
  });
  const infos = tensors.map((tensor) => {
    const { offset, type, dimensions } =
      typeof tensor === 'number' ? { offset: tensor, type: 0, dimensions: [1] } : tensor;
    return Buffer.concat([text('t'), u32(dimensions.length), ...dimensions.map(u64), u32(type), u64(offset)]);
  });
  const head = [Buffer.from('GGUF'), u32(version), u64(tensorCount), u64(fieldCount)];
  return Buffer.concat([...head, ...fields, ...infos]);
}
