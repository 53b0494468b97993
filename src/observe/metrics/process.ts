import { setTimeout as sleep } from 'node:timers/promises';
import { collectDefaultMetrics, Registry } from 'prom-client';

/** How often the event loop's delay is sampled, milliseconds. */
const SAMPLING_MS = 10;

/** A sample is the time between two ticks, samples begin anew with each scrape, and what is computed of none is no number. */
const TICKS = 3;

/** Sums of other metrics by names that Prometheus' linter refuses: they end as a counter's and are none. */
const MISNAMED = [
  'nodejs_active_handles_total',
  'nodejs_active_requests_total',
  'nodejs_active_resources_total',
];

let registry: Registry | undefined;
let reading: Promise<string> | undefined;

/**
 * CPU, memory, event loop and garbage collection of this process, in Prometheus' text form. There is one registry for
 * all servers in it, because what observes them cannot be ended. Sampling the event loop wakes the process 100 times a
 * second, so it begins when it is first asked for.
 */
export function processMetrics(): Promise<string> {
  reading ??= read().finally(() => (reading = undefined));
  return reading;
}

async function read(): Promise<string> {
  registry ??= observed();
  // One long wait may end together with the first tick, when the process is held up.
  for (let tick = 0; tick < TICKS; tick += 1) await sleep(2 * SAMPLING_MS);
  return registry.metrics();
}

function observed(): Registry {
  const fresh = new Registry();
  collectDefaultMetrics({ register: fresh, eventLoopMonitoringPrecision: SAMPLING_MS });
  for (const name of MISNAMED) fresh.removeSingleMetric(name);
  return fresh;
}
