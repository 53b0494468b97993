/** Reads tarballs as npm makes them: gzipped, regular files, short names. */
import { createReadStream } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream';
import { createGunzip } from 'node:zlib';

const BLOCK = 512;
const REGULAR = new Set(['0', '\0']);

/**
 * Writes files of a tarball.
 * @param target where an entry belongs; undefined skips it
 * @returns the written files
 * @throws the errors of zlib and the file system, and the signal's reason when it aborts
 */
export async function unpack(
  tarball: string,
  target: (name: string) => string | undefined,
  signal?: AbortSignal,
): Promise<string[]> {
  const bytes = new ByteReader(gunzipped(tarball, signal));
  const written: string[] = [];
  for (;;) {
    const header = await bytes.take(BLOCK);
    if (header.every((byte) => byte === 0)) return written;
    const { name, size, regular } = parseHeader(header);
    const file = regular ? target(name) : undefined;
    if (file === undefined) for await (const piece of bytes.pieces(size)) void piece;
    else {
      await mkdir(path.dirname(file), { recursive: true });
      await writeFile(file, bytes.pieces(size), signal ? { signal } : {});
      written.push(file);
    }
    await bytes.take((BLOCK - (size % BLOCK)) % BLOCK);
  }
}

function gunzipped(tarball: string, signal: AbortSignal | undefined): AsyncIterable<Buffer> {
  const gunzip = createGunzip();
  // Its errors come out of the iteration.
  pipeline(createReadStream(tarball, signal ? { signal } : {}), gunzip, () => undefined);
  return gunzip as AsyncIterable<Buffer>;
}

/** The fields of a header that matter: name and prefix, size in octal, type. */
function parseHeader(header: Buffer): { name: string; size: number; regular: boolean } {
  const text = (from: number, length: number): string =>
    header.toString('utf8', from, from + length).replace(/\0.*$/s, '');
  const prefix = text(345, 155);
  return {
    name: prefix === '' ? text(0, 100) : `${prefix}/${text(0, 100)}`,
    size: Number.parseInt(text(124, 12), 8),
    regular: REGULAR.has(header.toString('latin1', 156, 157)),
  };
}

/** Takes a stream apart in lengths of the reader's choice. */
class ByteReader {
  readonly #source: AsyncIterator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<Buffer>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  async take(length: number): Promise<Buffer> {
    const taken: Buffer[] = [];
    for await (const piece of this.pieces(length)) taken.push(piece);
    return Buffer.concat(taken);
  }

  /** The next bytes, as they come. */
  async *pieces(length: number): AsyncGenerator<Buffer> {
    for (let left = length; left > 0;) {
      if (this.#rest.length === 0) {
        const { done, value } = await this.#source.next();
        if (done) throw new Error('the tarball ends too early');
        this.#rest = value;
      }
      const piece = this.#rest.subarray(0, left);
      this.#rest = this.#rest.subarray(piece.length);
      left -= piece.length;
      yield piece;
    }
  }
}
