import express, { type Request, type RequestHandler, type Response } from 'express';
import { LMServError } from '../errors.js';
import { checkShape, isObject } from '../wire/json-shape.js';
import { callerKey } from './context.js';
import type { Turns } from './turns.js';

/** Limits on one body, bytes after decompression. */
export interface BodyLimits {
  readonly maxBodyBytes: number;
  /** Of the body without its images, and of one whose size is not announced; default: `maxBodyBytes`. */
  readonly maxBodyTextBytes?: number | undefined;
}

/**
 * Reads a JSON body into `request.body`. 503 `bodies_full` if the budget has no room for it. Bodies are parsed in turns,
 * and the next handlers run in the same turn.
 *
 * @param anyContentType programs, though not web pages, may leave the type out or name another one.
 */
export function jsonBody(
  limits: BodyLimits,
  budget: BodyBudget,
  turns: Turns,
  anyContentType = false,
): RequestHandler[] {
  const { maxBodyBytes, maxBodyTextBytes: maxText = maxBodyBytes } = limits;
  const readers = [maxBodyBytes, maxText].map((limit) => express.raw({ limit, type: () => true }));
  const read: RequestHandler = (request, response, next) =>
    readers[isAnnounced(request) ? 0 : 1]!(request, response, next);
  const parse: RequestHandler = (request, response, next) => {
    const bytes = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
    budget.settle(response, bytes.length);
    turns.take(() => {
      if (response.destroyed) return;
      try {
        const body = parseBody(bytes);
        if (bytes.length > maxText && bytes.length - imageBytes(body) > maxText) throw bodyTooLarge(maxText);
        request.body = body;
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
    // Refused before the body is read, if its length is announced.
    if (Number(request.headers['content-length'] ?? 0) > maxBodyBytes) throw bodyTooLarge(maxBodyBytes);
    next();
  };
  return [checkType, budget.reserve, read, parse];
}

/** Whether the size of the body is known before it is read: not if it comes in chunks or compressed. */
function isAnnounced({ headers }: Request): boolean {
  const { 'content-length': length, 'content-encoding': encoding = 'identity' } = headers;
  return length !== undefined && encoding === 'identity';
}

export function bodyTooLarge(limit: number): LMServError {
  return new LMServError(
    'body_too_large',
    `The body is larger than ${limit} bytes; see MAX_BODY_BYTES and MAX_BODY_TEXT_BYTES`,
  );
}

/** The size of the images in a body, which no model reads as text. */
function imageBytes(body: object): number {
  const { messages } = body as { messages?: unknown };
  const own = ollamaImageBytes(body);
  return listOf(messages).reduce<number>((bytes, message) => bytes + partsBytes(message), own);
}

/** Ollama's form: beside the text. */
function ollamaImageBytes(holder: unknown): number {
  const { images } = (holder ?? {}) as { images?: unknown };
  return listOf(images).reduce<number>(
    (bytes, data) => bytes + (typeof data === 'string' ? data.length : 0),
    0,
  );
}

interface Part {
  readonly image_url?: { readonly url?: unknown } | string | null;
  readonly source?: { readonly media_type?: unknown; readonly data?: unknown } | null;
}

/** Counts the images in the content of a message, or of a tool's result in it. */
function partsBytes(holder: unknown, nested = false): number {
  let bytes = nested ? 0 : ollamaImageBytes(holder);
  for (const part of listOf((holder as { content?: unknown } | null)?.content)) {
    const { image_url: image, source } = (part ?? {}) as Part;
    const url = typeof image === 'object' ? image?.url : image;
    if (typeof url === 'string' && url.startsWith('data:image/')) bytes += url.length;
    // Anthropic's form.
    const { media_type: type, data } = source ?? {};
    if (typeof data === 'string' && String(type).startsWith('image/')) bytes += data.length;
    if (!nested) bytes += partsBytes(part, true);
  }
  return bytes;
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
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
  readonly #unannounced: number;
  readonly #total: number;
  #held = 0;
  readonly #byCaller = new Map<string, number>();

  /** Two bodies of the max size always fit. */
  constructor({ maxBodyBytes, maxBodyTextBytes = maxBodyBytes }: BodyLimits) {
    this.#unannounced = Math.min(maxBodyBytes, maxBodyTextBytes);
    this.#total = Math.max(MIN_TOTAL, 2 * maxBodyBytes);
  }

  /** Bytes held now. */
  get held(): number {
    return this.#held;
  }

  /** Reserves the max size of the body; 503 `bodies_full` if that is too much, before anything is read. */
  readonly reserve: RequestHandler = (request, response, next) => {
    const bytes = isAnnounced(request) ? Number(request.headers['content-length']) : this.#unannounced;
    const own = this.#byCaller.get(callerKey(response)) ?? 0;
    if (this.#held + bytes > this.#total || own + bytes > this.#total / 2)
      throw new LMServError('bodies_full');
    response.locals.bodyBytes = 0;
    this.#add(response, bytes);
    response.once('close', () => this.#add(response, -response.locals.bodyBytes));
    next();
  };

  /** Corrects the reservation to the size of the body, once it is known. */
  settle(response: Response, bytes: number): void {
    if (!response.closed) this.#add(response, bytes - response.locals.bodyBytes);
  }

  #add(response: Response, bytes: number): void {
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
 * @throws LMServError `invalid_json` for anything but a JSON object in UTF-8, and for one that is nested more than 100
 *   levels deep, repeats a key in one object, or has too many values.
 */
export function parseBody(bytes: Buffer): object {
  if (bytes.length === 0)
    throw new LMServError('invalid_json', 'The body is empty; a JSON object is expected');
  const text = decode(bytes);
  checkShape(text);
  const value = parse(text);
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

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    // V8's message is dropped, because it quotes the body.
    throw new LMServError('invalid_json');
  }
}
