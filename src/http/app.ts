import cors from 'cors';
import express, { type Express, type RequestHandler } from 'express';
import helmet from 'helmet';
import type { Generate, ModelInfo } from '../contract.js';
import { LMServError } from '../errors.js';
import type { Logger } from '../observe/logger.js';
import { requireCaller, type Authenticate } from './auth.js';
import { BodyBudget } from './body-budget.js';
import { jsonBody } from './body.js';
import { requestContext } from './context.js';
import { errorHandler } from './errors.js';
import { generateHandler, type Admit } from './generate-handler.js';
import { hostCheck } from './host-check.js';
import type { InFlight } from './in-flight.js';
import { metrics, type ReadMetrics } from './metrics.js';
import { only } from './method-not-allowed.js';
import { health, model, models, root, type Health } from './read-routes.js';
import { perCallerLimit } from './rate-limit.js';
import { recordRequests, type OnRequest, type RequestRecord } from './request-log.js';
import { ROUTES, type Route } from './routes.js';
import { Turns } from './turns.js';
import { usage, type ReadUsage } from './usage.js';

export interface AppOptions {
  readonly generate: Generate;
  readonly admit: Admit;
  readonly usage: ReadUsage;
  readonly metrics: ReadMetrics;
  /** The routes that generate; LMServ's own by default. */
  readonly routes?: readonly Route[];
  /** Adds routes of one's own, behind authentication and before the 404. */
  readonly mount?: ((app: Express) => void) | undefined;
  readonly authenticate: Authenticate;
  readonly health: () => Health;
  readonly models: () => readonly ModelInfo[];
  readonly onRequest?: OnRequest | undefined;
  readonly onRequestDone: (record: RequestRecord) => void;
  readonly inFlight: InFlight;
  readonly logger: Logger;
  readonly allowedHosts: readonly string[];
  readonly corsOrigins: readonly string[];
  /** Express' `trust proxy`; false ignores X-Forwarded-For. */
  readonly trustProxy: boolean | number | string;
  readonly healthFormat: 'text' | 'json';
  readonly maxBodyBytes: number;
  readonly rateLimitQps: number;
}

/** The whole HTTP side as an Express app. It never listens: `server.ts` does. */
export function createApp(options: AppOptions): Express {
  const { logger } = options;
  const app = express();
  app.disable('x-powered-by');
  app.set('trust proxy', options.trustProxy);
  app.set('etag', false);
  const turns = new Turns();
  app.use(requestContext, recordRequests(options.onRequestDone, logger, options.onRequest), turns.wait);
  // Whether a host is to be reached by TLS alone is for the proxy that ends TLS to say.
  app.use(
    helmet({ strictTransportSecurity: false }),
    hostCheck(options.allowedHosts),
    crossOrigin(options.corsOrigins),
  );

  const read = (path: string, ...handlers: readonly RequestHandler[]) =>
    app
      .route(path)
      .get(...handlers)
      .all(only('GET', 'HEAD'));

  read('/', root);
  read('/health', health(options.health, options.healthFormat));
  read('/ready', health(options.health, 'json'));

  app.use(requireCaller(options.authenticate));
  // Before the rate limit: it is most needed when clients have reached theirs.
  read('/metrics', metrics(options.metrics));
  app.use(perCallerLimit(options.rateLimitQps));
  read('/v1/models', models(options.models));
  read('/v1/models/*id', model(options.models), () => {
    throw new LMServError('model_not_found');
  });
  read('/usage', usage(options.usage));
  const budget = new BodyBudget(options.maxBodyBytes);
  for (const { path, dialect } of options.routes ?? ROUTES) {
    const handlers = [
      options.inFlight.track,
      ...jsonBody(options.maxBodyBytes, budget, turns),
      generateHandler(dialect, options.generate, options.admit),
    ];
    app.post(path, ...handlers, errorHandler(logger, dialect));
    app.all(path, only('POST'));
  }
  options.mount?.(app);
  app.use(() => {
    throw new LMServError('not_found');
  });
  app.use(errorHandler(logger));
  return app;
}

/** Headers of ours that a page of another origin may read. */
const EXPOSED = ['x-request-id', 'retry-after', 'x-queue-time-ms', 'x-queue-position'];

function crossOrigin(origins: readonly string[]) {
  // Without a list no header at all: browsers of other origins are kept out.
  const origin = origins.includes('*') ? '*' : origins.length > 0 ? [...origins] : false;
  return cors({ origin, exposedHeaders: EXPOSED, maxAge: 600 });
}
