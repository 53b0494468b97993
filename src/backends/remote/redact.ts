import { redact, REDACTED } from '../../redact.js';

/** Taking credentials out of what a remote server wrote, before anybody sees or logs it. Pure. */

/** Control characters would let a remote server write lines of its own into a terminal. */
const CONTROL = /[\u0000-\u001f\u007f-\u009f]+/g;

export type Redact = (text: string) => string;

/**
 * A function that replaces credentials by `[redacted]`: the given ones wherever they stand, also as they look in a
 * URL, in JSON and in base64, and whatever else has the shape of one.
 */
export function createRedactor(secrets: readonly string[]): Redact {
  const literal = secrets.filter((secret) => secret !== '').flatMap(spellings);
  literal.sort((a, b) => b.length - a.length);
  return (text) => {
    let clean = text;
    for (const secret of literal) clean = clean.replaceAll(secret, REDACTED);
    return redact(clean).replace(CONTROL, ' ');
  };
}

function spellings(secret: string): string[] {
  const base64 = Buffer.from(secret).toString('base64');
  return [secret, encodeURIComponent(secret), JSON.stringify(secret).slice(1, -1), base64.replace(/=+$/, '')];
}
