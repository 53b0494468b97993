import type { Reply } from './send.js';

/** Codes of errors from 500 up that are no fault of the server's: capacity, and what a small model cannot do. */
const PLANNED = new Set([
  ...['queue_full', 'queue_timeout', 'All providers unavailable'],
  ...['invalid_response', 'configuration_error', 'provider_timeout'],
]);

/** Told inside a reply that had begun. */
const BROKEN = /"code":"(internal_error|generation_failed|unavailable|starting|draining)"/;

/** What is wrong with a reply; undefined for one that was planned. */
export function fault({ status, text }: Reply): string | undefined {
  if (status < 500) return BROKEN.exec(text)?.[1];
  const code = codeOf(text);
  return PLANNED.has(code) ? undefined : `${status} ${code}`;
}

function codeOf(text: string): string {
  try {
    const { error } = JSON.parse(text.slice(text.indexOf('{'))) as { error: string | { code: string } };
    return typeof error === 'string' ? error : error.code;
  } catch {
    return 'without a code';
  }
}
