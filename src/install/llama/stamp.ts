/** The file that marks a complete build. */
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';

const STAMP = 'lmserv-build.json';

const stampSchema = z.object({
  llamaVersion: z.string(),
  commit: z.string(),
  /** Flavour and way, for messages. */
  label: z.string(),
  /** Bytes of each file in bin/. */
  files: z.record(z.string(), z.number()),
});

type Stamp = z.infer<typeof stampSchema>;

/** Marks a build as complete. */
export async function writeStamp(build: string, made: Omit<Stamp, 'files'>): Promise<void> {
  const stamp: Stamp = { ...made, files: await sizesOf(build) };
  await writeFile(path.join(build, STAMP), `${JSON.stringify(stamp, null, 2)}\n`);
}

/** The stamp of a build; undefined if there is none, or its files have changed since. */
export async function readStamp(build: string): Promise<Stamp | undefined> {
  try {
    const stamp = stampSchema.parse(JSON.parse(await readFile(path.join(build, STAMP), 'utf8')));
    const sizes = await sizesOf(build);
    const whole = Object.entries(stamp.files).every(([name, bytes]) => sizes[name] === bytes);
    return whole ? stamp : undefined;
  } catch {
    return undefined;
  }
}

export const isComplete = async (build: string): Promise<boolean> => (await readStamp(build)) !== undefined;

/** Sizes of the files in bin/, links followed; what cannot be reached is left out. */
async function sizesOf(build: string): Promise<Record<string, number>> {
  const bin = path.join(build, 'bin');
  const sizes = await Promise.all(
    (await readdir(bin)).map(async (name): Promise<[string, number][]> => {
      const size = await stat(path.join(bin, name)).then(
        (entry) => entry.size,
        () => undefined,
      );
      return size === undefined ? [] : [[name, size]];
    }),
  );
  return Object.fromEntries(sizes.flat());
}
