import cors from 'cors';
import express, { type Express, type RequestHandler } from 'express';
import helmet from 'helmet';
import type { AskTokens, Evaluate, Generate } from '../contract.js';
import * as admin from './admin-routes.js';
import { LMServError } from '../errors.js';
import type { Logger } from '../observe/logger.js';
import { requireCaller, type Authenticate } from './auth.js';
import { BodyBudget, jsonBody, type BodyLimits, type BodyOptions } from './body.js';
import { requestContext } from './context.js';
import * as docs from './docs-page.js';
import { errorHandler } from './errors.js';
import { generateHandler, type Admission, type Residents } from './generate-handler.js';
import { hostCheck } from './host-check.js';
import type { InFlight } from './in-flight.js';
import { ollamaRoutes, type OllamaSource } from './ollama-routes.js';
import { perCallerLimit } from './rate-limit.js';
import * as read from './read-routes.js';
import { recordRequests, type RequestObserver } from './request-log.js';
import { dialectOf, ROUTES, type Route } from './routes.js';
import { Turns } from './turns.js';

export interface HttpSettings extends BodyLimits {
  readonly allowedHosts: readonly string[];
  readonly corsOrigins: readonly string[];
  /** Express's `trust proxy`; false ignores X-Forwarded-For. */
  readonly trustProxy: boolean | number | string;
  readonly healthFormat: 'text' | 'json';
  readonly rateLimitQps: number;
  /** After which unused models are unloaded, milliseconds; 0 is never. */
  readonly modelIdleMs?: number;
}

/** What the app serves. */
export interface AppOptions {
  readonly settings: HttpSettings;
  readonly version: string;
  /** More names of this machine, once they are known. */
  readonly ownNames?: Promise<readonly string[]>;
  readonly generate: Generate;
  readonly evaluate: Evaluate;
  readonly askTokens: AskTokens;
  readonly residence: Residents;
  readonly backends: OllamaSource['backends'];
  readonly accounting: Admission & read.UsageSource;
  readonly metrics: read.MetricsSource;
  /** Which models are in memory, for operators. */
  readonly admin?: admin.AdminSource | undefined;
  /** The last reading of the GPUs. */
  readonly gpus?: (() => read.GpuHealth) | undefined;
  readonly authenticate: Authenticate;
  readonly observer: RequestObserver;
  readonly inFlight: InFlight;
  readonly logger: Logger;
  /** The routes that generate; LMServ's by default. */
  readonly routes?: readonly Route[];
  /** Adds other routes, behind authentication and before the 404. */
  readonly mount?: ((app: Express) => void) | undefined;
}

/** The whole HTTP side as an Express app. It does not listen itself. */
export function createApp(options: AppOptions): Express {
  const { settings, backends, accounting, inFlight, logger } = options;
  const app = express();
  app.disable('x-powered-by');
  app.set('trust proxy', settings.trustProxy);
  app.set('etag', false);
  const turns = new Turns();
  // Time of its own: bytes come first in each iteration, and would leave none to the requests that wait.
  const arrivals = new Turns();
  app.use(correctPath, requestContext, recordRequests(options.observer, logger), turns.wait);
  app.use(
    // Only the proxy that terminates TLS can decide whether a host must be reached over TLS.
    helmet({ strictTransportSecurity: false }),
    hostCheck(settings.allowedHosts, options.ownNames),
    crossOrigin(settings.corsOrigins),
  );

  const get = (path: string, handler: RequestHandler) =>
    app.route(path).get(handler).all(read.allowOnly('GET', 'HEAD'));
  const health = () => read.healthOf(backends, inFlight.draining, options.version);

  get('/', read.root);
  get('/health', read.health(health, settings.healthFormat, options.gpus));
  get('/ready', read.health(health, 'json', options.gpus));
  const generating = options.routes ?? ROUTES;
  get('/openapi.json', docs.apiDescription(generating, options.version));
  get('/docs', docs.docsPage);
  get('/docs/:file', docs.docsFile);

  app.use(requireCaller(options.authenticate));
  // Before the rate limit: metrics are needed most when clients have reached theirs.
  get('/metrics', read.metrics(options.metrics));
  if (options.admin) adminRoutes(app, options.admin);
  app.use(perCallerLimit(settings.rateLimitQps));
  get('/v1/models', read.models(backends));
  get('/v1/models/*id', read.model(backends));
  get('/usage', read.usage(accounting));
  const bodies: BodyOptions = {
    limits: settings,
    budget: new BodyBudget(settings),
    turns,
    arrivals,
    takesImages: () => backends.registry.takesImages,
  };
  for (const { path, dialect, anyContentType } of generating) {
    app.post(
      path,
      inFlight.track,
      ...jsonBody(dialect, bodies, anyContentType),
      generateHandler(dialect, options),
      errorHandler(logger, arrivals, () => dialect),
    );
    app.all(path, read.allowOnly('POST'));
  }
  const { admin: { memory } = {} } = options;
  const body = jsonBody({}, bodies, true);
  ollamaRoutes(app, { backends, memory, idleMs: settings.modelIdleMs ?? 0 }, body);
  options.mount?.(app);
  app.all('/v1/responses/*rest', read.notStored);
  app.use(() => {
    throw new LMServError('not_found', NOT_FOUND);
  });
  app.use(errorHandler(logger, arrivals, (request) => dialectOf(request, generating)));
  return app;
}

function adminRoutes(app: Express, source: admin.AdminSource): void {
  app.use('/admin', admin.requireAdmin);
  app.route('/admin/models').get(admin.listModels(source)).all(read.allowOnly('GET', 'HEAD'));
  app.route('/admin/models/:id/:action').post(admin.changeModel(source)).all(read.allowOnly('POST'));
}

const NOT_FOUND =
  "There is no such route; OpenAI's are chat completions, completions, responses, embeddings and models, and base URLs end with /v1: http://HOST:PORT/v1";

/**
 * Serves the routes however a base URL is written: with a slash too many, with `/v1` twice, or, as on llama-server, without
 * it.
 */
const correctPath: RequestHandler = (request, _response, next) => {
  request.url = request.url.replace(/^\/{2,}/, '/').replace(OPENAI_PATHS, '/v1/$1');
  next();
};

const OPENAI_PATHS =
  /^\/(?:v1\/+)*(chat\/completions|completions|responses|messages|models|embeddings|rerank)(?=[/?]|$)/i;

/** LMServ's headers that pages of other origins may read. */
const EXPOSED = [
  'x-request-id',
  'request-id',
  'retry-after',
  'x-queue-time-ms',
  'x-queue-position',
  'x-model-state',
];

function crossOrigin(origins: readonly string[]) {
  // Without a list no header is sent, which keeps out pages of other origins.
  const origin = origins.includes('*') ? '*' : origins.length > 0 && origins.map(originPattern);
  return cors({ origin, exposedHeaders: EXPOSED, maxAge: 600 });
}

/** Matches all hosts below the domain after `*.`. */
function originPattern(origin: string): string | RegExp {
  const [scheme, domain] = origin.split('://*.').map((part) => part.replace(/[.+]/g, '\\$&'));
  return domain === undefined ? origin : new RegExp(`^${scheme}://[\\w.-]+\\.${domain}$`);
}
