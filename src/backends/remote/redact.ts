import { redact, REDACTED } from '../../wire/redact.js';

/** Removes credentials from a remote server's text before it is shown or logged. Pure. */

/** Control characters would let a remote server write its own lines into a terminal. */
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/g;

export type Redact = (text: string) => string;

/**
 * Makes a function that replaces credentials by `[redacted]`: the secrets anywhere, including their encodings in URLs,
 * JSON and base64, and anything else that looks like a credential.
 */
export function createRedactor(secrets: readonly string[]): Redact {
  const literal = [...new Set(secrets.filter((secret) => secret !== '').flatMap(spellings))];
  literal.sort((a, b) => b.length - a.length);
  // In one pass, so that no secret is matched inside the replacement of another.
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
