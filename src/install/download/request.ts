/** One HTTP GET that follows redirects, and the error class of downloads. */
import { EnvHttpProxyAgent, interceptors, request, type Dispatcher } from 'undici';
import { UserError } from '../../errors.js';

/** Why a download failed. `transient` ones were retried before this was thrown. */
export type DownloadErrorCode = 'http' | 'network' | 'checksum' | 'size' | 'disk_full' | 'content';

/** A download's failure, in one line without credentials; `status` is set if it is the server's response. */
export class DownloadError extends UserError {
  constructor(
    readonly code: DownloadErrorCode,
    message: string,
    readonly status?: number,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

const MAX_REDIRECTS = 10;

/** Time without a response or further bytes after which a connection counts as broken, milliseconds. */
const STALLED_MS = 60_000;

export type Headers = Readonly<Record<string, string>>;

let shared: Dispatcher | undefined;

/** The redirects of one request. */
class Hops {
  readonly #url: string;
  #secure = false;
  #begun = false;

  constructor(url: string) {
    this.#url = url;
  }

  /** Checks every hop. Leaving https would continue in clear text. */
  readonly check: Dispatcher.DispatcherComposeInterceptor = (dispatch) => (options, handler) => {
    const secure = String(options.origin).startsWith('https:');
    if (this.#secure && !secure) throw badRedirect(this.#url, 'from https to http, which is refused');
    this.#secure = secure;
    this.#begun = true;
    return dispatch(options, handler);
  };

  /** The redirect interceptor throws these codes for a target that it cannot parse or has already visited. */
  explain(error: unknown): unknown {
    const { code } = error as { code?: unknown };
    const unusable = this.#begun && (code === 'ERR_INVALID_URL' || code === 'UND_ERR_INVALID_ARG');
    return unusable ? badRedirect(this.#url, 'to an address that cannot be used, or in a loop') : error;
  }
}

/** A URL for messages, without user, password and query, which may contain signatures and tokens. */
export function safeUrl(url: string | URL): string {
  const { protocol, host, pathname } = new URL(url);
  return `${protocol}//${host}${pathname}`;
}

/**
 * GETs a URL as the bytes the server has (no content coding, which would break ranges). Redirects are followed, and
 * credentials stay with the URL's own origin.
 * @throws DownloadError for a bad redirect, and undici's errors for a broken connection
 */
export async function get(
  url: string,
  headers: Headers,
  signal: AbortSignal | undefined,
  network: Dispatcher = agent(),
): Promise<Dispatcher.ResponseData> {
  const hops = new Hops(url);
  const dispatcher = network.compose(hops.check, interceptors.redirect({ maxRedirections: MAX_REDIRECTS }));
  const response = await request(url, {
    headers: { ...headers, 'accept-encoding': 'identity', 'user-agent': 'lmserv' },
    dispatcher,
    ...(signal ? { signal } : {}),
  }).catch((error: unknown) => {
    throw hops.explain(error);
  });
  if (response.statusCode < 300 || response.statusCode > 308) return response;
  await response.body.dump();
  throw badRedirect(url, `more than ${MAX_REDIRECTS} times`);
}

/** Honours HTTP_PROXY, HTTPS_PROXY and NO_PROXY; made on first use. */
const agent = (): Dispatcher =>
  (shared ??= new EnvHttpProxyAgent({ headersTimeout: STALLED_MS, bodyTimeout: STALLED_MS }));

const badRedirect = (url: string, how: string): DownloadError =>
  new DownloadError('http', `${safeUrl(url)} redirects ${how}`);
