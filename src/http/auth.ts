import type { BlockList } from 'node:net';
import { isIPv6 } from 'node:net';
import type { IncomingMessage } from 'node:http';
import type { Request, RequestHandler } from 'express';
import { ipKeyGenerator } from 'express-rate-limit';
import type { Caller } from '../contract.js';
import { LMServError } from '../errors.js';

/** Identifies the caller; undefined if it is unknown. A program may bring its own (`createServer({authenticate})`). */
export type Authenticate = (request: IncomingMessage) => Caller | undefined | Promise<Caller | undefined>;

export interface KeyAuthOptions {
  /** The caller that a key belongs to; must take the same time for a wrong key as for a right one. */
  readonly lookup: (key: string) => Caller | undefined;
  /** No key is required. */
  readonly open: boolean;
  /** Networks whose clients need no key. */
  readonly keyless: BlockList;
}

/** Callers without a key are identified by address; with authentication disabled they are admins. */
const anonymous = (request: IncomingMessage, admin: boolean): Caller => ({
  name: 'anonymous',
  admin,
  // An IPv6 network is one client, because it has too many addresses to count.
  address: ipKeyGenerator(addressOf(request)),
});

/** Authenticates by `X-API-Key` or `Authorization: Bearer`, or by the client's network. */
export function keyAuth({ lookup, open, keyless }: KeyAuthOptions): Authenticate {
  return (request) => {
    if (open) return anonymous(request, true);
    const [caller] = presentedKeys(request).flatMap((key) => lookup(key) ?? []);
    // Clients that cannot do without a key send any text, so an unknown key counts as none there.
    return caller ?? (isKeyless(request, keyless) ? anonymous(request, false) : undefined);
  };
}

/** Puts the caller into `response.locals`, or refuses with 401. */
export function requireCaller(authenticate: Authenticate): RequestHandler {
  return (request, response, next) => {
    void Promise.resolve(authenticate(request)).then((caller) => {
      if (!caller) {
        response.setHeader('WWW-Authenticate', 'Bearer');
        next(new LMServError('invalid_api_key'));
        return;
      }
      response.locals.caller = caller;
      // Nobody would learn any more that the client has left.
      if (!response.destroyed) next();
    }, next);
  };
}

/** Some clients and proxies fill only one of the headers that they send. */
function presentedKeys({ headers }: IncomingMessage): string[] {
  const bearer = /^Bearer +(.+)$/i.exec(headers.authorization ?? '')?.[1];
  return [headers['x-api-key'], bearer].filter((key) => typeof key === 'string' && key !== '') as string[];
}

function isKeyless(request: IncomingMessage, keyless: BlockList): boolean {
  const address = addressOf(request);
  return address !== '' && keyless.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');
}

/** Express's request.ip honours TRUST_PROXY; outside Express only the socket's address is available. */
function addressOf(request: IncomingMessage): string {
  const address = (request as Request).ip ?? request.socket.remoteAddress ?? '';
  return address.startsWith('::ffff:') ? address.slice(7) : address;
}
