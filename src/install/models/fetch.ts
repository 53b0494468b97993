/** Fetches a model's files into the models folder without touching those of other models. */
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { withLock } from '../early/lock.mjs';
import { requireSpace } from '../files.js';
import { download, type DownloadProgress } from '../download/download.js';
import { hashFile, partSize } from '../download/part.js';
import type { Headers } from '../download/request.js';
import { ModelError } from './spec.js';
import { requireGguf } from './gguf.js';

/** One file to fetch. */
export interface Wanted {
  url: string;
  /** Its name in the models folder. */
  name: string;
  size: number | undefined;
  /** Hex; undefined when unknown. */
  sha256: string | undefined;
}

export interface FetchOptions {
  modelsDir: string;
  headers: Headers;
  signal: AbortSignal | undefined;
  onProgress: ((progress: ModelProgress) => void) | undefined;
  backoffMs?: number | undefined;
}

/** The progress of one of a model's files. */
export interface ModelProgress extends DownloadProgress {
  file: string;
  /** From 1. */
  index: number;
  count: number;
}

export interface Fetched {
  path: string;
  name: string;
  size: number;
  sha256: string;
}

/** Fetches a model's files one after the other. @throws ModelError, DownloadError */
export async function fetchFiles(wanted: readonly Wanted[], options: FetchOptions): Promise<Fetched[]> {
  await requireRoom(wanted, options.modelsDir);
  const fetched: Fetched[] = [];
  for (const [at, file] of wanted.entries()) {
    fetched.push(await fetchOne(file, options, { index: at + 1, count: wanted.length }));
  }
  return fetched;
}

/** Requires space for all parts, minus what has already been fetched. */
async function requireRoom(wanted: readonly Wanted[], modelsDir: string): Promise<void> {
  let missing = 0;
  for (const { name, size = 0 } of wanted) {
    const target = path.join(modelsDir, name);
    const there = await stat(target).then(
      (entry) => entry.size,
      () => partSize(target),
    );
    missing += Math.max(0, size - there);
  }
  if (missing > 0) await requireSpace(modelsDir, missing);
}

async function fetchOne(
  wanted: Wanted,
  options: FetchOptions,
  at: { index: number; count: number },
): Promise<Fetched> {
  const target = path.join(options.modelsDir, wanted.name);
  const { signal, headers, onProgress, backoffMs } = options;
  // Both names match a pattern of .gitignore: X.gguf.part*.
  return withLock(`${target}.part.lock`, { signal }, async () => {
    const report = (progress: DownloadProgress) => onProgress?.({ ...progress, ...at, file: wanted.name });
    const found = await existing(wanted, target, { signal, report });
    if (found) return found;
    const { bytes, digest } = await download({
      url: wanted.url,
      to: target,
      headers,
      size: wanted.size,
      integrity: { algorithm: 'sha256', digest: wanted.sha256 },
      verify: (part) => requireGguf(part, wanted.name),
      onProgress: report,
      signal,
      ...(backoffMs === undefined ? {} : { backoffMs }),
    });
    return { path: target, name: wanted.name, size: bytes, sha256: digest };
  });
}

/** The file if it already exists. @throws ModelError if another file has its name */
async function existing(
  wanted: Wanted,
  target: string,
  { signal, report }: { signal: AbortSignal | undefined; report: (progress: DownloadProgress) => void },
): Promise<Fetched | undefined> {
  const there = await stat(target).catch(() => undefined);
  if (there === undefined) return undefined;
  const refusal = new ModelError(
    `${target} exists and is a different file: move it away, or choose another name with --name`,
  );
  if (wanted.sha256 === undefined || (wanted.size !== undefined && there.size !== wanted.size)) throw refusal;
  const onRead = (bytes: number) => report({ received: bytes, total: there.size });
  const sha256 = (await hashFile(target, 'sha256', signal, onRead)).digest('hex');
  if (sha256 !== wanted.sha256.toLowerCase()) throw refusal;
  return { path: target, name: wanted.name, size: there.size, sha256 };
}
