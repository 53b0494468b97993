/** Record of the downloads in models/, so that a model needs the network only once: `.downloads.json`. */
import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { writeAtomically } from '../../files/write-text.js';

const schema = z.record(z.string(), z.array(z.object({ name: z.string(), size: z.number() })));

/** Files of each model by its spec's key; names are relative to the models folder. */
type DownloadRecord = z.infer<typeof schema>;

export type RecordedFile = DownloadRecord[string][number];

/** Path of the first file of a completely downloaded model; undefined if it has to be fetched. */
export async function findDownloaded(modelsDir: string, key: string): Promise<string | undefined> {
  const files = (await read(modelsDir))[key];
  if (files?.[0] === undefined) return undefined;
  const whole = await Promise.all(files.map((file) => isWhole(modelsDir, file)));
  return whole.every(Boolean) ? path.join(modelsDir, files[0].name) : undefined;
}

/** Without a readable record, models are simply fetched again. */
async function read(modelsDir: string): Promise<DownloadRecord> {
  try {
    return schema.parse(JSON.parse(await readFile(recordPath(modelsDir), 'utf8')));
  } catch {
    return {};
  }
}

const recordPath = (modelsDir: string): string => path.join(modelsDir, '.downloads.json');

async function isWhole(modelsDir: string, { name, size }: RecordedFile): Promise<boolean> {
  return stat(path.join(modelsDir, name)).then(
    (entry) => entry.isFile() && entry.size === size,
    () => false,
  );
}

export async function rememberDownload(modelsDir: string, key: string, files: RecordedFile[]): Promise<void> {
  const record = { ...(await read(modelsDir)), [key]: files };
  writeAtomically(recordPath(modelsDir), `${JSON.stringify(record, null, 2)}\n`, 0o644);
}
