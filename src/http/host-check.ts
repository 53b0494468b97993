import { execFile } from 'node:child_process';
import { isIP } from 'node:net';
import { hostname } from 'node:os';
import { domainToASCII } from 'node:url';
import { promisify } from 'node:util';
import type { RequestHandler } from 'express';
import { LMServError } from '../errors.js';

/** How containers and virtual machines name the machine they run on. No one can register a name below `.internal`. */
const VIRTUAL_HOSTS = [
  'host.docker.internal',
  'gateway.docker.internal',
  'host.containers.internal',
  'host.lima.internal',
];

/** Longest wait for the system to find its own full name, milliseconds. */
const FULL_NAME_MS = 1_000;

/** The full name of this machine as `hostname -f` prints it; none if the system knows none. */
export async function fullName(program = 'hostname'): Promise<string[]> {
  const { stdout } = await promisify(execFile)(program, ['-f'], { timeout: FULL_NAME_MS }).catch(() => ({
    stdout: '',
  }));
  return stdout.split('\n', 1).filter(Boolean);
}

/**
 * Refuses an unknown Host header with 421, so that a web page cannot reach a server in the LAN under the page's own name
 * (DNS rebinding). Addresses are always accepted, because rebinding needs a name. HTTP/1.1 without the header gets 400.
 *
 * @param allowed further names; `*.example` accepts all below it, and `*` any.
 * @param found names that are still being found out; a request with an unknown one waits for them.
 */
export function hostCheck(
  allowed: readonly string[],
  found: Promise<readonly string[]> = Promise.resolve([]),
): RequestHandler {
  const own = hostname().toLowerCase();
  const names = new Set([
    'localhost',
    own,
    `${own}.local`,
    `${own}.lan`,
    ...VIRTUAL_HOSTS,
    ...allowed.map(plainName),
  ]);
  const complete = found.then((more) => more.forEach((name) => names.add(plainName(name))));
  const any = names.has('*');
  const domains = [...names].filter((name) => name.startsWith('*.')).map((name) => name.slice(1));
  const isBelow = (host: string, domain: string) => host.endsWith(domain) && host.length > domain.length;
  return (request, _response, next) => {
    refuseDuplicates(request.rawHeaders);
    if (request.headers.host === undefined && request.httpVersion === '1.1')
      throw new LMServError('invalid_http', 'HTTP/1.1 requires a Host header');
    const host = bareHost(request.headers.host ?? '');
    if (any || isIP(host) !== 0 || names.has(host) || domains.some((domain) => isBelow(host, domain)))
      return next();
    void complete.then(() => next(names.has(host) ? undefined : new LMServError('misdirected_request')));
  };
}

/** Headers that decide what a caller may do: if one is sent twice, a proxy might believe the other value. */
const SINGLE = ['host', 'authorization', 'x-api-key', 'content-type'];

function refuseDuplicates(rawHeaders: readonly string[]): void {
  const names = rawHeaders.filter((_, position) => position % 2 === 0).map((name) => name.toLowerCase());
  const twice = SINGLE.find((name) => names.indexOf(name) !== names.lastIndexOf(name));
  if (twice) throw new LMServError('invalid_value', `The header ${twice} was sent twice`);
}

/** The host without its port, the brackets of an IPv6 address and the final dot of a full name. */
function bareHost(header: string): string {
  const match = /^(?:\[([^\]]+)\]|([^:]*))(?::\d+)?$/.exec(header.toLowerCase());
  return match?.[1] ?? withoutFinalDot(match?.[2] ?? '');
}

const plainName = (name: string): string => withoutFinalDot(domainToASCII(name) || name.toLowerCase());

const withoutFinalDot = (name: string): string => name.replace(/\.$/, '');
