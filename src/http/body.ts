import { randomUUID } from 'node:crypto';
import type { Transform } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib';
import type { Request, RequestHandler, Response } from 'express';
import type { Dialect } from '../dialects/shared/dialect.js';
import { LMServError } from '../errors.js';
import { checkShape, isObject } from '../wire/json-shape.js';
import { callerKey } from './context.js';
import { shorten, type Shortened } from './long-strings.js';
import type { Turns } from './turns.js';

/** Limits on one body, bytes after decompression. */
export interface BodyLimits {
  /** Of a body without its images. */
  readonly maxBodyBytes: number;
  /** Of a body with images, where a model takes any; default: `maxBodyBytes`. */
  readonly maxImageBodyBytes?: number | undefined;
}

/** What the bodies of all routes share. */
export interface BodyOptions {
  readonly limits: BodyLimits;
  readonly budget: BodyBudget;
  /** Of the bodies that are parsed. */
  readonly turns: Turns;
  /** Of the bytes that arrive. */
  readonly arrivals: Turns;
  /** Whether any model may take images. */
  readonly takesImages: () => boolean;
}

/**
 * Reads a JSON body into `request.body`. 503 `bodies_full` if the budget has no room for it. Bodies are parsed in turns,
 * and the next handlers run in the same turn.
 *
 * @param anyContentType programs, though not web pages, may leave the type out or name another one.
 */
export function jsonBody(
  dialect: Pick<Dialect, 'images'>,
  options: BodyOptions,
  anyContentType = false,
): RequestHandler[] {
  const { budget, turns, arrivals, takesImages } = options;
  const { maxBodyBytes: maxText, maxImageBodyBytes = maxText } = options.limits;
  const tooMuchText = () => tooLarge(maxText, ' without its images; see MAX_BODY_BYTES');
  const parse = ({ json, strings }: Shortened): object => {
    if (json.length > maxText) throw tooMuchText();
    // Escapes in a string that was taken out are not its size.
    let size = json.length;
    for (const text of strings?.values() ?? []) size += text.length;
    const body = parseBody(json, strings);
    if (size > maxText && size - (dialect.images?.(body) ?? 0) > maxText) throw tooMuchText();
    return body;
  };
  const read: RequestHandler = async (request, response, next) => {
    const mayHoldImages = dialect.images !== undefined && takesImages();
    const max = mayHoldImages ? Math.max(maxText, maxImageBodyBytes) : maxText;
    const refusal = () =>
      mayHoldImages
        ? tooLarge(max, '; see MAX_IMAGE_BODY_BYTES')
        : tooLarge(max, `; see MAX_BODY_BYTES${dialect.images ? '. No model here takes images' : ''}`);
    // Refused before anything is read or set aside.
    if (Number(request.headers['content-length'] ?? 0) > max) throw refusal();
    const length = announcedLength(request);
    budget.open(response);
    if (length !== undefined) budget.add(response, length);
    const bytes = await readWhole(request, { length, max, arrivals }, (arrived, sum) => {
      if (sum > max) throw refusal();
      if (length === undefined) budget.add(response, arrived);
    });
    const shortened = bytes.length > maxText ? await shorten(bytes, randomUUID, nextTurn) : { json: bytes };
    turns.take(() => {
      if (response.destroyed) return;
      try {
        request.body = parse(shortened);
      } catch (error) {
        return next(error);
      }
      next();
    });
  };
  const checkType: RequestHandler = (request, _response, next) => {
    const type = request.headers['content-type'];
    if (!isJson(type) && !(anyContentType && isFromProgram(request)))
      throw new LMServError('unsupported_media_type');
    next();
  };
  return [checkType, read];
}

/** The size of a body that is known before it is read: not if it comes in chunks or compressed. */
function announcedLength({ headers }: Request): number | undefined {
  const { 'content-length': length, 'content-encoding': encoding } = headers;
  return length === undefined || decoderOf(encoding) !== undefined ? undefined : Number(length);
}

const DECODERS: ReadonlyMap<string, () => Transform> = new Map([
  ['gzip', createGunzip],
  ['deflate', createInflate],
  ['br', createBrotliDecompress],
]);

/** @throws LMServError `unsupported_media_type`. */
function decoderOf(encoding = 'identity'): (() => Transform) | undefined {
  const name = encoding.toLowerCase();
  const decoder = DECODERS.get(name);
  if (!decoder && name !== 'identity') throw new LMServError('unsupported_media_type');
  return decoder;
}

function tooLarge(limit: number, more: string): LMServError {
  return new LMServError('body_too_large', `The body is larger than ${limit} bytes${more}`);
}

/** How a body is read. */
interface Reading {
  /** Its size in bytes, if that is known. */
  readonly length: number | undefined;
  /** Its max size, bytes. */
  readonly max: number;
  readonly arrivals: Turns;
}

/** Memory for a body of unknown size at first, bytes. */
const FIRST_BYTES = 16_384;

/**
 * Reads a body to its end.
 *
 * @param onBytes called with the number of bytes that have arrived and of all so far; what it throws ends the reading.
 * @throws LMServError `invalid_json` for a body that is cut off or cannot be decompressed.
 */
function readWhole(
  request: Request,
  { length, max, arrivals }: Reading,
  onBytes: (arrived: number, size: number) => void,
): Promise<Buffer> {
  const decoder = decoderOf(request.headers['content-encoding'])?.();
  const source = decoder ? request.pipe(decoder) : request;
  let bytes: Buffer = Buffer.allocUnsafe(length ?? FIRST_BYTES);
  let size = 0;
  return new Promise((resolve, reject) => {
    const fail = (error: unknown) => {
      source.off('data', take);
      request.unpipe();
      decoder?.destroy();
      reject(error);
    };
    const take = (part: Buffer) => {
      try {
        onBytes(part.length, size + part.length);
      } catch (error) {
        return fail(error);
      }
      if (size + part.length > bytes.length) bytes = grown(bytes, size + part.length, max);
      size += part.copy(bytes, size);
      arrivals.pace(source);
    };
    const lost = () => fail(new LMServError('invalid_json'));
    source.on('data', take).once('end', () => resolve(bytes.subarray(0, size)));
    source.once('error', lost);
    // A request whose client has left has no end.
    request.once('close', () => request.complete || lost());
  });
}

/** Reads and drops what is left of a body: a client that is still sending would not see its reply otherwise. */
export function dropBody(request: Request, arrivals: Turns): void {
  request.on('data', () => arrivals.pace(request)).resume();
}

/** Bodies up to this size grow in steps, bytes. */
const SMALL = 1_048_576;

/** The same bytes with room for more: at once for all that may come, which takes no memory until it comes. */
function grown(bytes: Buffer, least: number, max: number): Buffer {
  const larger = Buffer.allocUnsafe(least > SMALL ? max : Math.max(least, 2 * bytes.length));
  bytes.copy(larger);
  return larger;
}

/** Browsers name the origin of what a page posts; such a post needs the type JSON, which other origins may not send. */
function isFromProgram({ headers }: Request): boolean {
  return headers.origin === undefined && headers['sec-fetch-site'] === undefined;
}

function isJson(type = ''): boolean {
  return (
    /^application\/(?:[\w.-]+\+)?json\s*(?:;|$)/i.test(type) && !/;\s*charset\s*=\s*"?(?!utf-?8)/i.test(type)
  );
}

/** Max bytes of all bodies in progress; in memory each is several times as large. */
const MIN_TOTAL = 67_108_864;

/**
 * Limits the total size of the bodies of all requests in progress, from before they are read until their replies have
 * ended. A caller holds at most half of it, so that its uploads cannot lock out the others.
 */
export class BodyBudget {
  readonly #total: number;
  #held = 0;
  readonly #byCaller = new Map<string, number>();

  /** Two bodies of the max size always fit. */
  constructor({ maxBodyBytes, maxImageBodyBytes = 0 }: BodyLimits) {
    this.#total = Math.max(MIN_TOTAL, 2 * Math.max(maxBodyBytes, maxImageBodyBytes));
  }

  /** Begins to count the body of a request; what it holds is released with its response. */
  open(response: Response): void {
    response.locals.bodyBytes = 0;
    response.once('close', () => this.#change(response, -response.locals.bodyBytes));
  }

  /** Counts more bytes of a body. @throws LMServError `bodies_full` if there is no room for them. */
  add(response: Response, bytes: number): void {
    const own = this.#byCaller.get(callerKey(response)) ?? 0;
    if (this.#held + bytes > this.#total || own + bytes > this.#total / 2)
      throw new LMServError('bodies_full');
    this.#change(response, bytes);
  }

  #change(response: Response, bytes: number): void {
    const caller = callerKey(response);
    const own = (this.#byCaller.get(caller) ?? 0) + bytes;
    this.#held += bytes;
    response.locals.bodyBytes += bytes;
    if (own === 0) this.#byCaller.delete(caller);
    else this.#byCaller.set(caller, own);
  }
}

/**
 * Parses a JSON object.
 *
 * @param strings what stands in place of others in it.
 * @throws LMServError `invalid_json` for anything but a JSON object in UTF-8, and for one that is nested more than 100
 *   levels deep, repeats a key in one object, or has too many values.
 */
export function parseBody(bytes: Buffer, strings?: ReadonlyMap<string, string>): object {
  if (bytes.length === 0)
    throw new LMServError('invalid_json', 'The body is empty; a JSON object is expected');
  const text = decode(bytes);
  checkShape(text);
  const value = parse(text, strings);
  if (!isObject(value)) throw new LMServError('invalid_json', 'The body must be a JSON object');
  return value;
}

function decode(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new LMServError('invalid_json', 'The body is not valid UTF-8');
  }
}

function parse(text: string, strings?: ReadonlyMap<string, string>): unknown {
  const restore = (_key: string, value: unknown) => strings!.get(value as string) ?? value;
  try {
    return JSON.parse(text, strings && restore) as unknown;
  } catch {
    // V8's message is dropped, because it quotes the body.
    throw new LMServError('invalid_json');
  }
}
