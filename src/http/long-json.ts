import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Response } from 'express';
import { paced } from '../wire/images.js';

/** Items of a list from which on it is written in pieces. */
const LONG = 16;

/**
 * Writes a reply whose lists may be long: two million numbers take half a second, which other replies would wait for.
 * Resolves when it is written, or its client has left.
 */
export async function writeJson(response: Response, value: object): Promise<void> {
  if (!Object.values(value).some(isLong)) return void response.json(value);
  response.type('json');
  await pipeline(Readable.from(paced(piecesOf(value))), response).catch(() => undefined);
}

const isLong = (value: unknown): value is readonly unknown[] => Array.isArray(value) && value.length >= LONG;

/** The JSON of an object, each item of its long lists as a piece. */
export function* piecesOf(value: object): Generator<string> {
  const fields = Object.entries(value).filter(([, field]) => field !== undefined);
  for (const [at, [name, field]] of fields.entries()) {
    const begin = `${at === 0 ? '{' : ','}${JSON.stringify(name)}:`;
    if (!isLong(field)) {
      yield begin + JSON.stringify(field);
      continue;
    }
    for (const [index, item] of field.entries())
      yield `${index === 0 ? `${begin}[` : ','}${JSON.stringify(item)}`;
    yield ']';
  }
  yield fields.length === 0 ? '{}' : '}';
}
