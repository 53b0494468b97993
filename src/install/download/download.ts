/**
 * Downloads files: resumes, computes checksums while streaming, retries, and moves the file into place only when it is
 * complete. After an interruption the part fetched so far stays in `X.part` beside it.
 */
import type { Hash } from 'node:crypto';
import { createHash } from 'node:crypto';
import { mkdir, open, rename } from 'node:fs/promises';
import path from 'node:path';
import type { Dispatcher } from 'undici';
import { requireSpace } from '../files.js';
import { DownloadError, safeUrl } from './request.js';
import {
  discardNote,
  discardPart,
  hashFile,
  partPath,
  partSize,
  readNote,
  writeNote,
  type PartNote,
} from './part.js';
import { get, type Headers } from './request.js';
import { withRetries } from './retry.js';

export interface Integrity {
  algorithm: 'sha256' | 'sha512';
  /** The expected digest in lower-case hex; if absent the digest is only computed. */
  digest?: string | undefined;
}

export interface DownloadOptions {
  url: string;
  /** The finished file. Its folder is created; an existing file is replaced. */
  to: string;
  /** Sent to the URL's origin; credentials are sent nowhere else. */
  headers?: Headers;
  /** Expected size in bytes, if known beforehand. */
  size?: number | undefined;
  integrity?: Integrity;
  onProgress?: ((progress: DownloadProgress) => void) | undefined;
  /** Checks the complete part before it becomes the file; an error discards it. */
  verify?: (part: string) => Promise<void>;
  signal?: AbortSignal | undefined;
  /** Consecutive failures without progress before giving up (5), and wait before the first retry, milliseconds (500). */
  attempts?: number;
  backoffMs?: number;
}

export interface DownloadProgress {
  received: number;
  /** Undefined if the server does not say. */
  total: number | undefined;
}

export interface Downloaded {
  path: string;
  bytes: number;
  /** Hex digest of the integrity's algorithm, sha256 by default. */
  digest: string;
}

/** The current state of a part: its size and its hash. */
interface Progressing {
  received: number;
  hash: Hash;
  total: number | undefined;
}

/**
 * Downloads a file.
 * @throws DownloadError; the signal's reason when it aborts, and the part then stays for the next run
 */
export async function download(options: DownloadOptions): Promise<Downloaded> {
  await mkdir(path.dirname(options.to), { recursive: true });
  const resumed = (await partSize(options.to)) > 0;
  try {
    return await finish(options, await fetchWhole(options));
  } catch (error) {
    // A part of something else (changed file, disk error) shows only in the checksum: retry once from the start.
    if (!resumed || !(error instanceof DownloadError) || error.code !== 'checksum') throw error;
    return finish(options, await fetchWhole(options));
  }
}

/** Checks the complete file and moves it into place. A wrong part is removed, so that the next run starts over. */
async function finish(options: DownloadOptions, part: Progressing): Promise<Downloaded> {
  const digest = part.hash.digest('hex');
  try {
    checkSize(options, part.received);
    checkDigest(options, digest);
    await options.verify?.(partPath(options.to));
  } catch (error) {
    await discardPart(options.to);
    throw error;
  }
  await rename(partPath(options.to), options.to);
  await discardNote(options.to);
  return { path: options.to, bytes: part.received, digest };
}

function checkSize({ url, size }: DownloadOptions, received: number): void {
  if (size === undefined || received === size) return;
  throw new DownloadError('size', `${safeUrl(url)} has ${received} bytes instead of ${size}`);
}

function checkDigest({ url, integrity }: DownloadOptions, digest: string): void {
  if (integrity?.digest === undefined || integrity.digest.toLowerCase() === digest) return;
  throw new DownloadError(
    'checksum',
    `${safeUrl(url)} has the ${integrity.algorithm} checksum ${digest} instead of ${integrity.digest}`,
  );
}

function fetchWhole(options: DownloadOptions): Promise<Progressing> {
  const { attempts = 5, backoffMs = 500, signal } = options;
  let furthest = 0;
  return withRetries({ attempts, backoffMs, signal }, (progressed) =>
    attemptOnce(options, (received) => {
      // A server that breaks off at the same position each time makes no progress.
      if (received > furthest) progressed();
      furthest = Math.max(furthest, received);
    }),
  );
}

async function attemptOnce(
  options: DownloadOptions,
  onReceived: (received: number) => void,
): Promise<Progressing> {
  options.signal?.throwIfAborted();
  let part = await existingPart(options);
  if (part.received > 0 && part.received === options.size) return part;
  const range = await rangeHeaders(options, part);
  const response = await getOrFail(options, { ...options.headers, ...range });
  if (response.statusCode === 416) return afterUnsatisfiable(options, part, response);
  failOnStatus(options.url, response);
  if (!continues(response, part)) {
    await discardPart(options.to);
    part = { received: 0, hash: createHash(options.integrity?.algorithm ?? 'sha256'), total: options.size };
  }
  await receive(options, part, response, onReceived);
  return part;
}

/** The state of a part left by an earlier attempt. A part larger than the file does not belong to it. */
async function existingPart(options: DownloadOptions): Promise<Progressing> {
  const { to, size, signal, integrity } = options;
  const algorithm = integrity?.algorithm ?? 'sha256';
  const received = await partSize(to);
  if (received === 0 || (size !== undefined && received > size)) {
    await discardPart(to);
    return { received: 0, hash: createHash(algorithm), total: size };
  }
  return { received, hash: await hashFile(partPath(to), algorithm, signal), total: size };
}

/**
 * Requests the remainder only if the file is the same, which the server decides by the validator. Without a validator, a
 * known checksum decides at the end; without both, the download starts over.
 */
async function rangeHeaders(options: DownloadOptions, part: Progressing): Promise<Headers> {
  if (part.received === 0) return {};
  const range = { range: `bytes=${part.received}-` };
  if (options.integrity?.digest !== undefined) return range;
  const note = await readNote(options.to);
  const usable = note?.url === options.url && note.validator !== undefined;
  return usable ? { ...range, 'if-range': note.validator ?? '' } : {};
}

/** @throws DownloadError `network` for any broken connection */
async function getOrFail(options: DownloadOptions, headers: Headers): Promise<Dispatcher.ResponseData> {
  try {
    return await get(options.url, headers, options.signal);
  } catch (error) {
    throw asNetworkError(options, error);
  }
}

function asNetworkError(options: DownloadOptions, error: unknown): unknown {
  if (error instanceof DownloadError || options.signal?.aborted) return error;
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new DownloadError('disk_full', `The disk of ${path.dirname(options.to)} is full`);
  }
  if (typeof (error as NodeJS.ErrnoException).syscall === 'string' && isFileError(code)) return error;
  const reason = error instanceof Error ? error.message : String(error);
  return new DownloadError('network', `${safeUrl(options.url)}: ${reason}`, undefined, { cause: error });
}

const isFileError = (code: string | undefined): boolean =>
  ['EACCES', 'EPERM', 'EROFS', 'EISDIR', 'EMFILE', 'EIO'].includes(code ?? '');

/** 416: nothing follows the part, so it is the complete file unless the server says that the file is shorter. */
async function afterUnsatisfiable(
  options: DownloadOptions,
  part: Progressing,
  response: Dispatcher.ResponseData,
): Promise<Progressing> {
  response.body.on('error', () => undefined).destroy();
  const total = /^bytes \*\/(\d+)$/.exec(String(response.headers['content-range'] ?? ''))?.[1];
  if (Number(total) === part.received) return part;
  await discardPart(options.to);
  throw new DownloadError('network', `${safeUrl(options.url)} has changed since the last attempt`);
}

function failOnStatus(url: string, response: Dispatcher.ResponseData): void {
  if (response.statusCode === 200 || response.statusCode === 206) return;
  response.body.on('error', () => undefined).destroy();
  throw new DownloadError('http', `${safeUrl(url)} returned ${response.statusCode}`, response.statusCode);
}

/** Whether the response continues exactly at the end of the part. */
function continues(response: Dispatcher.ResponseData, part: Progressing): boolean {
  const start = /^bytes (\d+)-/.exec(String(response.headers['content-range'] ?? ''))?.[1];
  return response.statusCode === 206 && Number(start) === part.received;
}

async function receive(
  options: DownloadOptions,
  part: Progressing,
  response: Dispatcher.ResponseData,
  onReceived: (received: number) => void,
): Promise<void> {
  try {
    part.total = options.size ?? totalBytes(response, part.received);
    if (part.total !== undefined) await requireSpace(path.dirname(options.to), part.total - part.received);
    await writeNote(options.to, noteOf(options.url, response));
    options.onProgress?.({ received: part.received, total: part.total });
    await append(options, part, response.body, onReceived);
  } catch (error) {
    response.body.on('error', () => undefined).destroy();
    throw asNetworkError(options, error);
  }
  if (part.total !== undefined && part.received < part.total) {
    throw new DownloadError('network', `${safeUrl(options.url)} ended after ${part.received} bytes`);
  }
}

function totalBytes(response: Dispatcher.ResponseData, received: number): number | undefined {
  const length = response.headers['content-length'];
  return length === undefined ? undefined : received + Number(length);
}

/** The validator for the next run: a strong ETag, otherwise the date. */
function noteOf(url: string, response: Dispatcher.ResponseData): PartNote {
  const etag = response.headers['etag'];
  const strong = typeof etag === 'string' && !etag.startsWith('W/') ? etag : undefined;
  const date = response.headers['last-modified'];
  return { url, validator: strong ?? (typeof date === 'string' ? date : undefined) };
}

/** Writes each piece before the next is read, so that it is kept if the connection breaks. */
async function append(
  options: DownloadOptions,
  part: Progressing,
  body: AsyncIterable<Buffer>,
  onReceived: (received: number) => void,
): Promise<void> {
  const file = await open(partPath(options.to), part.received > 0 ? 'a' : 'w');
  try {
    for await (const chunk of body) {
      await file.writeFile(chunk);
      part.hash.update(chunk);
      part.received += chunk.length;
      onReceived(part.received);
      options.onProgress?.({ received: part.received, total: part.total });
    }
    await file.sync();
  } finally {
    await file.close();
  }
}
