/** What a server says went wrong, made fit for an error message. */

/** Characters; a proxy's whole HTML page helps nobody. */
const MAX_MESSAGE = 500;

/** A shorter secret would blot out parts of ordinary words. */
const SHORTEST_SECRET = 4;

export interface ServerMessage {
  readonly message: string | undefined;
  readonly code: string | undefined;
}

/** Reads the body of an error: OpenAI's object, LMServ's flat one, or a bare string under `error`. */
export function describeError(body: string): ServerMessage {
  try {
    return describeErrorValue(JSON.parse(body));
  } catch {
    return { message: undefined, code: undefined };
  }
}

/** The same for a body that is parsed already. */
export function describeErrorValue(body: unknown): ServerMessage {
  const outer = record(body);
  const inner = record(outer['error']);
  const flat = string(outer['error']);
  const message = string(inner['message']) ?? string(outer['message']) ?? flat;
  // In `{"error": code, "message"}` the string is a code, alone it is the message.
  const code = string(inner['code']) ?? (outer['message'] === undefined ? undefined : flat);
  return { message, code };
}

/** One line without control characters and without the key, cut at 500 characters. */
export function oneLine(text: string, secret: string | undefined): string {
  const clean = text.replace(/[\p{Cc}\u2028\u2029]+/gu, ' ').trim();
  const safe =
    secret !== undefined && secret.length >= SHORTEST_SECRET ? clean.replaceAll(secret, '[redacted]') : clean;
  return safe.length > MAX_MESSAGE ? `${safe.slice(0, MAX_MESSAGE)}…` : safe;
}

/** A value's fields, none when it is no object. */
export function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

/** A value that is a string with something in it, or a number as its text. */
function string(value: unknown): string | undefined {
  if (typeof value === 'number') return String(value);
  return typeof value === 'string' && value !== '' ? value : undefined;
}
