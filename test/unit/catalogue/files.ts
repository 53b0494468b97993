import { writeFileSync } from 'node:fs';
import { gguf, type Entry } from '../doctor/gguf-bytes.js';

/** Writes small model files. */

export const LLAMA: readonly Entry[] = [
  ['general.architecture', 'string', 'llama'],
  ['llama.context_length', 'u32', 2048],
  ['general.file_type', 'u32', 15],
];

export const PROJECTOR: readonly Entry[] = [
  ['general.architecture', 'string', 'clip'],
  ['general.type', 'string', 'mmproj'],
];

export const ADAPTER: readonly Entry[] = [
  ['general.architecture', 'string', 'llama'],
  ['general.type', 'string', 'adapter'],
  ['adapter.type', 'string', 'lora'],
];

/** A whole file with these fields and one tensor of 32 numbers. */
export function model(entries: readonly Entry[] = LLAMA, fill = 0): Buffer {
  const header = gguf(entries, { tensors: [{ offset: 0, type: 0, dimensions: [32] }] });
  const end = Math.ceil(header.length / 32) * 32 + 128;
  return Buffer.concat([header, Buffer.alloc(end - header.length, fill)]);
}

export function write(path: string, entries?: readonly Entry[]): void {
  writeFileSync(path, model(entries));
}
