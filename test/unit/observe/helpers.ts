import type { BackendStatus, Trace, WorkerInfo } from '../../../src/contract.js';
import { newTrace } from '../../../src/generate/trace.js';
import type { Gpu } from '../../../src/observe/gpus.js';
import { Metrics, type FinishedRequest, type MetricsOptions } from '../../../src/observe/metrics/metrics.js';
import type { ServedModel } from '../../../src/observe/metrics/served-models.js';
import { GapCounter } from '../../../src/observe/token-gaps.js';
import { parseExposition } from '../../support/exposition.js';

export const MODEL = 'demo';

export const status = (fields: Partial<BackendStatus> = {}): BackendStatus => ({
  ready: true,
  starting: false,
  workers: { total: 2, idle: 1, busy: 1, starting: 0, dead: 0 },
  slots: { total: 4, idle: 3 },
  queue: { waiting: 5, limit: 64 },
  state: 'loaded',
  ...fields,
});

export const worker = (fields: Partial<WorkerInfo> = {}): WorkerInfo => ({
  id: `${MODEL}#0.1`,
  model: MODEL,
  position: 0,
  pid: 4711,
  state: 'idle',
  slots: 2,
  leased: 0,
  requests: 12,
  startedAt: 1_700_000_000_500,
  memory: [
    { device: 'host', model: 30, mapped: 30, context: 0, compute: 2 },
    { device: 'CUDA0', model: 500, mapped: 0, context: 200, compute: 100 },
  ],
  offload: { offloaded: 4, total: 5, requested: 4, lacking: false },
  ...fields,
});

export const served = (fields: Partial<ServedModel> = {}): ServedModel => ({
  model: MODEL,
  status: status(),
  workers: [worker(), worker({ id: `${MODEL}#1.2`, position: 1, state: 'busy', leased: 1 })],
  llamaCpp: '0.5.0',
  memoryBytes: 1_000,
  ...fields,
});

export const GPU: Gpu = {
  device: 'CUDA0',
  name: 'NVIDIA H200',
  total: 9_000,
  free: 1_000,
  temperature: 31,
  power: 74.5,
};

/** Metrics of a server with one model whose workers use 100 and 900 bytes. */
export function testMetrics(options: Partial<MetricsOptions> = {}) {
  const metrics = new Metrics({
    version: '1.2.3',
    models: () => [served()],
    memoryOf: async () => ({ anonymous: 100, mapped: 900 }),
    memoryFigures: () => ({ budget: 2_000, held: 1_000 }),
    droppedLogLines: () => 3,
    usageBacklog: () => ({ rows: 4, uncounted: 5 }),
    gpus: async () => [GPU],
    ...options,
  });
  return Object.assign(metrics, { read: async () => parseExposition((await metrics.expose()).body) });
}

interface Finished extends Partial<Omit<FinishedRequest, 'context'>> {
  readonly generated?: boolean;
  readonly trace?: Partial<Trace>;
  readonly error?: string;
}

/** A request that has ended. */
export function finished({ generated = true, trace, error, ...fields }: Finished = {}): FinishedRequest {
  const context = {
    generated,
    trace: { ...newTrace(), ...trace },
    ...(error === undefined ? {} : { error: { code: error } }),
  };
  return { route: '/chat', status: 200, outcome: 'finished', ms: 1_500, context, ...fields };
}

/** The gaps of a reply, in milliseconds. */
export function gaps(...each: number[]): GapCounter {
  const counter = new GapCounter();
  let now = 0;
  counter.note(0, now);
  for (const gap of each) counter.note(0, (now += gap));
  return counter;
}
