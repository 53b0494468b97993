/** Checks a model's file without loading it: what llama.cpp would refuse at each start is refused once. */
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { GgufError, readGguf, readHead, type GgufHeader } from './gguf.js';
import { partOf } from './choose.js';
import { ModelError } from './spec.js';

export interface PathFacts {
  readonly kind: 'file' | 'folder' | 'other';
  /** Bytes. */
  readonly size: number;
  /** Permission bits. */
  readonly mode: number;
  readonly readable: boolean;
  readonly writable: boolean;
}

/** What is asked of the file system. */
export interface Disk {
  /** undefined when nothing has that name. */
  stat(path: string): Promise<PathFacts | undefined>;
  /** Up to that many bytes from the start of a file. @throws the system's error */
  readHead(path: string, bytes: number): Promise<Buffer>;
}

export interface InspectedModel {
  readonly header: GgufHeader;
  /** Of all parts, bytes. */
  readonly size: number;
}

/** A split model of more parts than this is a mistake. */
const MAX_PARTS = 1_000;

/** @throws ModelError that says what is wrong with the file; the file system's errors */
export async function inspectModel(
  path: string,
  disk: Disk = { stat: statPath, readHead },
): Promise<InspectedModel> {
  const sizes = await Promise.all(partsOf(path).map((part) => sizeOf(part, disk)));
  const size = sizes[0]!;
  try {
    const header = await readGguf((bytes) => disk.readHead(path, bytes), size);
    if (size < header.tensorsEnd) throw new GgufError('is cut: its tensors go on after its end');
    return { header, size: sizes.reduce((sum, each) => sum + each, 0) };
  } catch (error) {
    throw error instanceof GgufError ? new ModelError(`${path} ${error.message}`) : error;
  }
}

/** llama.cpp is given the first part of a split model and finds the others beside it. */
function partsOf(path: string): string[] {
  const part = partOf(path);
  if (part === undefined || part.count > MAX_PARTS) return [path];
  if (part.index !== 1)
    throw new ModelError(`${path} is part ${part.index} of a model; name its first part`);
  return Array.from({ length: part.count }, (_, index) =>
    path.replace(/-00001-of-/, `-${String(index + 1).padStart(5, '0')}-of-`),
  );
}

async function sizeOf(path: string, disk: Disk): Promise<number> {
  const entry = await disk.stat(path);
  if (!entry) throw new ModelError(`there is no file ${path}`);
  if (entry.kind !== 'file') throw new ModelError(`${path} is not a regular file`);
  if (!entry.readable) throw new ModelError(`${path} may not be read by this account`);
  return entry.size;
}

/** undefined when nothing has that name. @throws the system's other errors */
export async function statPath(path: string): Promise<PathFacts | undefined> {
  const entry = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw error;
  });
  if (!entry) return undefined;
  return {
    kind: entry.isFile() ? 'file' : entry.isDirectory() ? 'folder' : 'other',
    size: entry.size,
    mode: entry.mode & 0o777,
    readable: await allows(path, constants.R_OK),
    writable: await allows(path, constants.W_OK),
  };
}

const allows = (path: string, mode: number): Promise<boolean> =>
  access(path, mode).then(
    () => true,
    () => false,
  );
