import { Counter, Histogram, type Registry } from 'prom-client';
import type { Trace } from '../../contract.js';

/** What is counted of a request when it has ended; `RequestRecord` of `src/http` is one. */
export interface FinishedRequest {
  /** The pattern that matched, never what was asked for. */
  readonly route: string;
  readonly status: number;
  readonly outcome: string;
  readonly ms: number;
  readonly context: {
    /** It went to a route that generates. */
    readonly generated: boolean;
    readonly trace: Trace;
    readonly error?: { readonly code: string };
  };
}

/** Replies that stream take as long as they are: up to minutes. */
const DURATION_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];

/** Requests as HTTP sees them. */
export class RequestMetrics {
  readonly #requests;
  readonly #errors;
  readonly #duration;

  constructor(registry: Registry) {
    const registers = [registry];
    this.#requests = new Counter({
      name: 'lmserv_http_requests_total',
      help: 'Requests that have ended, by matched route, outcome (finished, cancelled, broken, refused) and status.',
      labelNames: ['route', 'outcome', 'status'],
      registers,
    });
    this.#errors = new Counter({
      name: 'lmserv_http_request_errors_total',
      help: 'Requests refused or broken, by error code.',
      labelNames: ['code'],
      registers,
    });
    this.#duration = new Histogram({
      name: 'lmserv_http_request_duration_seconds',
      help: 'Time from the arrival of a request to the end of its reply.',
      labelNames: ['route'],
      buckets: DURATION_BUCKETS,
      registers,
    });
  }

  add({ outcome, status, ms, context, ...request }: FinishedRequest): void {
    // Express lets a program's own routes be lists and regular expressions.
    const route = String(request.route);
    this.#requests.inc({ route, outcome, status });
    this.#duration.observe({ route }, ms / 1000);
    if (context.error) this.#errors.inc({ code: context.error.code });
  }
}
