/** Checks whether a file is a model. */
import { open } from 'node:fs/promises';
import path from 'node:path';
import { ModelError } from './spec.js';

const MAGIC = 'GGUF';

/** @throws ModelError when the file does not begin as GGUF files do; the file system's errors */
export async function requireGguf(file: string, shownAs = path.basename(file)): Promise<void> {
  const handle = await open(file, 'r');
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(MAGIC.length), 0, MAGIC.length, 0);
    if (buffer.toString('latin1', 0, bytesRead) === MAGIC) return;
  } finally {
    await handle.close();
  }
  throw new ModelError(`${shownAs} is not a GGUF file: it does not begin with "${MAGIC}"`);
}
