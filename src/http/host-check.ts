import { isIP } from 'node:net';
import { hostname } from 'node:os';
import type { RequestHandler } from 'express';
import { LMServError } from '../errors.js';

/**
 * Refuses an unknown Host header with 421, so that a web page cannot reach a server in the LAN under the page's own name
 * (DNS rebinding). Addresses are always accepted, because rebinding needs a name. HTTP/1.1 without the header gets 400.
 */
export function hostCheck(allowed: readonly string[]): RequestHandler {
  const own = hostname().toLowerCase();
  const names = new Set([
    'localhost',
    own,
    `${own}.local`,
    `${own}.lan`,
    ...allowed.map((name) => name.toLowerCase()),
  ]);
  const any = names.has('*');
  return (request, _response, next) => {
    refuseDuplicates(request.rawHeaders);
    if (request.headers.host === undefined && request.httpVersion === '1.1')
      throw new LMServError('invalid_http', 'HTTP/1.1 requires a Host header');
    const host = bareHost(request.headers.host ?? '');
    if (any || isIP(host) !== 0 || names.has(host)) next();
    else throw new LMServError('misdirected_request');
  };
}

/** Headers that decide what a caller may do: if one is sent twice, a proxy might believe the other value. */
const SINGLE = ['host', 'authorization', 'x-api-key', 'content-type'];

function refuseDuplicates(rawHeaders: readonly string[]): void {
  const names = rawHeaders.filter((_, position) => position % 2 === 0).map((name) => name.toLowerCase());
  const twice = SINGLE.find((name) => names.indexOf(name) !== names.lastIndexOf(name));
  if (twice) throw new LMServError('invalid_value', `The header ${twice} was sent twice`);
}

/** The host without its port and the brackets of an IPv6 address. */
function bareHost(header: string): string {
  const match = /^(?:\[([^\]]+)\]|([^:]*))(?::\d+)?$/.exec(header.toLowerCase());
  return match?.[1] ?? match?.[2] ?? '';
}
