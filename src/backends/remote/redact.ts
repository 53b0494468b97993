import { redact, REDACTED } from '../../wire/redact.js';

/** Taking credentials out of what a remote server wrote, before anybody sees or logs it. Pure. */

/** Control characters would let a remote server write lines of its own into a terminal. */
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/g;

export type Redact = (text: string) => string;

/**
 * A function that replaces credentials by `[redacted]`: the given ones wherever they stand, also as they look in a
 * URL, in JSON and in base64, and whatever else has the shape of one.
 */
export function createRedactor(secrets: readonly string[]): Redact {
  const literal = [...new Set(secrets.filter((secret) => secret !== '').flatMap(spellings))];
  literal.sort((a, b) => b.length - a.length);
  // All at once: one after the other would find the later ones in what replaced the earlier ones.
  const pattern = new RegExp(literal.map(escaped).join('|') || '$^', 'g');
  return (text) => redact(text.replace(pattern, REDACTED)).replace(CONTROL, ' ');
}

function escaped(literal: string): string {
  return literal.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}

function spellings(secret: string): string[] {
  const base64 = Buffer.from(secret).toString('base64');
  return [secret, encodeURIComponent(secret), JSON.stringify(secret).slice(1, -1), base64.replace(/=+$/, '')];
}
