/** One HTTP GET that follows redirects without taking credentials along to another host. */
import { EnvHttpProxyAgent, request, type Dispatcher } from 'undici';
import { DownloadError, safeUrl } from './errors.js';

const MAX_REDIRECTS = 10;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);
/** Milliseconds without an answer, or without another byte, after which a connection counts as broken. */
const STALLED_MS = 60_000;

export type Headers = Readonly<Record<string, string>>;

let shared: Dispatcher | undefined;

/** Honours HTTP_PROXY, HTTPS_PROXY and NO_PROXY; made once, at first use. */
function dispatcher(): Dispatcher {
  shared ??= new EnvHttpProxyAgent({ headersTimeout: STALLED_MS, bodyTimeout: STALLED_MS });
  return shared;
}

/** Parses a redirect's target, which must be http or https and never go from https down to http. */
function redirectTarget(from: URL, location: unknown): URL {
  const usable = typeof location === 'string' && URL.canParse(location, from.href);
  const target = usable ? new URL(location, from) : null;
  if (target === null || !/^https?:$/.test(target.protocol)) {
    throw new DownloadError('http', `${safeUrl(from)} redirects to no usable address`);
  }
  if (from.protocol === 'https:' && target.protocol === 'http:') {
    throw new DownloadError('http', `${safeUrl(from)} redirects from https to http, which is refused`);
  }
  return target;
}

function withoutCredentials(headers: Headers): Headers {
  return Object.fromEntries(
    Object.entries(headers).filter(([name]) => !['authorization', 'cookie'].includes(name.toLowerCase())),
  );
}

/**
 * GETs a URL as the bytes the server has (no content coding, which would break ranges).
 * @throws DownloadError for a bad redirect, and undici's errors for a broken connection
 */
export async function get(
  url: string,
  headers: Headers,
  signal: AbortSignal | undefined,
): Promise<Dispatcher.ResponseData> {
  let target = new URL(url);
  let sent: Headers = { ...headers, 'accept-encoding': 'identity', 'user-agent': 'lmserv' };
  for (let hop = 0; hop <= MAX_REDIRECTS; hop += 1) {
    const options = { headers: sent, dispatcher: dispatcher(), ...(signal ? { signal } : {}) };
    const response = await request(target, options);
    if (!REDIRECTS.has(response.statusCode)) return response;
    await response.body.dump();
    const next = redirectTarget(target, response.headers['location']);
    if (next.origin !== target.origin) sent = withoutCredentials(sent);
    target = next;
  }
  throw new DownloadError('http', `${safeUrl(url)} redirects more than ${MAX_REDIRECTS} times`);
}
