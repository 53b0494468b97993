import type { Exchange } from '../../chaos/exchange.js';
import { ROUTES, type Route } from '../../chaos/routes.js';

/** A whole reply with status 200, but for what is given. */
export const seen = (fields: Partial<Exchange> = {}): Exchange => ({
  status: 200,
  body: '',
  complete: true,
  trailers: {},
  gaveUp: undefined,
  failure: undefined,
  ms: 1,
  ...fields,
});

export const routeNamed = (name: string): Route => ROUTES.find((route) => route.name === name)!;
