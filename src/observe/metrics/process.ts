import { setTimeout as sleep } from 'node:timers/promises';
import { collectDefaultMetrics, Registry } from 'prom-client';

/** How often the event loop's delay is sampled, milliseconds. */
const SAMPLING_MS = 10;

/** A sample is the time between two ticks, sampling restarts with each scrape, and statistics of no samples are NaN. */
const TICKS = 3;

/** Gauges with a `_total` suffix, which promtool rejects; they are sums of other metrics. */
const MISNAMED = [
  'nodejs_active_handles_total',
  'nodejs_active_requests_total',
  'nodejs_active_resources_total',
];

let registry: Registry | undefined;
let reading: Promise<string> | undefined;

/**
 * CPU, memory, event loop and garbage collection of this process, in Prometheus' text form. All servers in a process
 * share one registry, because its observers cannot be stopped. Sampling the event loop wakes the process 100 times a
 * second, so it begins with the first scrape.
 */
export function processMetrics(): Promise<string> {
  reading ??= read().finally(() => (reading = undefined));
  return reading;
}

async function read(): Promise<string> {
  registry ??= observed();
  // In a busy process, one long wait may end together with the first tick.
  for (let tick = 0; tick < TICKS; tick += 1) await sleep(2 * SAMPLING_MS);
  return registry.metrics();
}

function observed(): Registry {
  const fresh = new Registry();
  collectDefaultMetrics({ register: fresh, eventLoopMonitoringPrecision: SAMPLING_MS });
  for (const name of MISNAMED) fresh.removeSingleMetric(name);
  return fresh;
}
