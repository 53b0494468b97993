import { createServer, type RequestListener, type Server, type ServerOptions } from 'node:http';
import { onClientError } from './client-error.js';

const OPTIONS: ServerOptions = {
  // Milliseconds for headers and for a whole request to arrive; slower ones get 408.
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  connectionsCheckingInterval: 1_000,
  // Longer than proxies keep theirs (nginx 60 s): who closes first must be the one that sends, or a request is lost.
  keepAliveTimeout: 75_000,
  // Node's own refusal has neither a body nor a request id; `hostCheck` has both.
  requireHostHeader: false,
};

/** The HTTP server around the app, not yet listening: what Node would refuse in its own way is answered in ours. */
export function httpServer(app: RequestListener, options: ServerOptions = {}): Server {
  const server = createServer({ ...OPTIONS, ...options }, app);
  // An expectation nobody knows may be ignored (RFC 9110, 10.1.1).
  return server.on('checkExpectation', app).on('clientError', onClientError);
}
