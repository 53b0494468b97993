import { z } from 'zod';

/** About one request a day. */
const MIN_QPS = 0.000_01;
const MAX_QPS = 1_000_000;

const RULE = `must be 0 for no limit, or ${MIN_QPS.toFixed(5)} to ${MAX_QPS} requests per second`;

/** Requests per second; 0 disables the limit. */
export const rateSchema = z
  .number(RULE)
  .refine((qps) => qps === 0 || (qps >= MIN_QPS && qps <= MAX_QPS), RULE);
