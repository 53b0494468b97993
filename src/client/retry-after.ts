/**
 * When a server may be asked again, from `retry-after-ms` or `retry-after` (seconds, or a date); `nowMs` is Unix time
 * in milliseconds.
 *
 * @returns seconds, 0 or more; undefined when there is no header that can be read.
 */
export function retryAfterSeconds(headers: Headers, nowMs: number): number | undefined {
  return (
    number(headers.get('retry-after-ms'), 1000) ??
    number(headers.get('retry-after'), 1) ??
    date(headers, nowMs)
  );
}

function number(value: string | null, divisor: number): number | undefined {
  return value !== null && /^\d{1,9}(\.\d+)?$/.test(value) ? Number(value) / divisor : undefined;
}

function date(headers: Headers, nowMs: number): number | undefined {
  const at = Date.parse(headers.get('retry-after') ?? '');
  return Number.isNaN(at) ? undefined : Math.max(0, Math.ceil((at - nowMs) / 1000));
}
