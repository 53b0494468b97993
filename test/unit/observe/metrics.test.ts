import type { FinishedRequest } from '../../../src/observe/metrics/metrics.js';
import { readMemory } from '../../../src/observe/process-memory.js';
import { GPU, finished, gaps, MODEL, served, status, testMetrics, worker } from './helpers.js';

const whole = {
  model: MODEL,
  promptTokens: 30,
  cachedTokens: 20,
  completionTokens: 4,
  firstTokenMs: 80,
  finishReason: 'stop' as const,
  tokenGaps: gaps(20, 20, 300),
};

/** The metrics after these requests. */
async function after(...requests: FinishedRequest[]) {
  const metrics = testMetrics();
  for (const request of requests) metrics.requestDone(request);
  return metrics.read();
}

describe('requests', () => {
  test('are counted by route, outcome and status, with their duration', async () => {
    const refused = finished({ status: 503, outcome: 'refused', error: 'queue_full', ms: 2 });
    const read = await after(finished(), finished({ ms: 500 }), refused);
    const ok = { route: '/chat', outcome: 'finished', status: '200' };
    expect(read.value('lmserv_http_requests_total', ok)).toBe(2);
    expect(read.value('lmserv_http_requests_total', { status: '503' })).toBe(1);
    expect(read.value('lmserv_http_request_errors_total', { code: 'queue_full' })).toBe(1);
    expect(read.value('lmserv_http_request_duration_seconds_sum', { route: '/chat' })).toBeCloseTo(2.002, 9);
    expect(read.value('lmserv_http_request_duration_seconds_bucket', { le: '0.5' })).toBe(2);
  });

  test('with a list or a regular expression as their route are escaped', async () => {
    const routes = [/^\/"a"$/, ['/a', '/b']] as unknown as string[];
    const read = await after(...routes.map((route) => finished({ route })));
    const { samples } = read.family('lmserv_http_requests_total');
    expect(samples.map(({ labels }) => labels.route)).toEqual(['/^\\\\/\\"a\\"$/', '/a,/b']);
  });
});

describe('generations', () => {
  test('count tokens, first tokens and gaps by model', async () => {
    const second = { ...whole, tokenGaps: gaps(20) };
    const read = await after(finished({ trace: whole }), finished({ trace: second }));
    expect(read.value('lmserv_generations_total', { model: MODEL, outcome: 'finished' })).toBe(2);
    expect(read.value('lmserv_prompt_tokens_total', { model: MODEL })).toBe(60);
    expect(read.value('lmserv_completion_tokens_total', { model: MODEL })).toBe(8);
    expect(read.value('lmserv_time_to_first_token_seconds_count', { model: MODEL })).toBe(2);
    expect(read.value('lmserv_time_to_first_token_seconds_sum', { model: MODEL })).toBeCloseTo(0.16, 9);
    expect(read.value('lmserv_inter_token_latency_seconds_count', { model: MODEL })).toBe(4);
    expect(read.value('lmserv_inter_token_latency_seconds_bucket', { le: '0.025' })).toBe(3);
    expect(read.value('lmserv_inter_token_latency_seconds_sum', { model: MODEL })).toBeCloseTo(0.36, 9);
  });

  test('that were not finished do not count for the prefix cache', async () => {
    const uncached = { ...whole, cachedTokens: 0 };
    const { finishReason: _, ...cut } = uncached;
    const cancelled = finished({ outcome: 'cancelled', trace: cut });
    const read = await after(finished({ trace: whole }), finished({ trace: uncached }), cancelled);
    expect(read.value('lmserv_prefix_cache_lookups_total')).toBe(2);
    expect(read.value('lmserv_prefix_cache_hits_total')).toBe(1);
    expect(read.value('lmserv_prefix_cache_prompt_tokens_total')).toBe(60);
    expect(read.value('lmserv_prefix_cache_hit_tokens_total')).toBe(20);
    expect(read.value('lmserv_prompt_tokens_total')).toBe(90);
  });

  test('are not counted for other routes or for a request that was refused before it had a model', async () => {
    const metrics = testMetrics({ models: () => [] });
    metrics.requestDone(finished({ status: 404, outcome: 'refused' }));
    metrics.requestDone(finished({ route: '/health', generated: false, trace: whole }));
    const read = await metrics.read();
    expect(read.family('lmserv_generations_total').samples).toEqual([]);
    expect(read.family('lmserv_prompt_tokens_total').samples).toEqual([]);
  });
});

test('models beyond the thousandth share their series', async () => {
  const metrics = testMetrics({ models: () => [] });
  for (let i = 0; i < 1003; i += 1) {
    const model = `made up ${i}`;
    metrics.requestDone(finished({ trace: { ...whole, model } }));
    metrics.backendFailed({ model, error: { code: 'unavailable' } });
    metrics.poolObserver.waited({ model, ms: 1, outcome: 'leased' });
  }
  const read = await metrics.read();
  for (const name of ['lmserv_generations_total', 'lmserv_backend_failures_total']) {
    expect(read.family(name).samples).toHaveLength(1001);
    expect(read.value(name, { model: 'other' })).toBe(3);
  }
  expect(read.value('lmserv_inter_token_latency_seconds_count', { model: 'other' })).toBe(9);
  expect(read.value('lmserv_queue_wait_seconds_count', { model: 'other' })).toBe(3);
});

describe('models in memory', () => {
  test('have a state, what they hold, loads and unloads', async () => {
    const metrics = testMetrics({
      models: () => [served({ status: status({ state: 'loading' }), memoryBytes: 7 })],
      memoryFigures: () => ({ budget: 100, held: 60 }),
    });
    metrics.poolObserver.modelLoaded({ model: MODEL, ms: 1_500 });
    metrics.poolObserver.modelUnloaded({ model: MODEL, reason: 'evicted' });
    const read = await metrics.read();
    const states = ['loaded', 'loading', 'unloaded', 'failed'];
    expect(states.map((state) => read.value('lmserv_model_state', { state }))).toEqual([0, 1, 0, 0]);
    expect(read.value('lmserv_model_memory_bytes', { model: MODEL })).toBe(7);
    expect(read.value('lmserv_model_load_duration_seconds_sum', { model: MODEL })).toBe(1.5);
    const reasons = ['idle', 'evicted', 'operator', 'failed'];
    expect(reasons.map((reason) => read.value('lmserv_model_unloads_total', { reason }))).toEqual([
      0, 1, 0, 0,
    ]);
    expect(read.value('lmserv_memory_budget_bytes')).toBe(100);
    expect(read.value('lmserv_memory_held_bytes')).toBe(60);
  });

  test('are pools even while they have no workers', async () => {
    const workers = { total: 0, idle: 0, busy: 0, starting: 0, dead: 0 };
    const asleep = served({ status: status({ state: 'unloaded', workers }), workers: [] });
    const read = await testMetrics({ models: () => [asleep] }).read();
    expect(read.value('lmserv_queue_waiting', { model: MODEL })).toBe(5);
    expect(read.value('lmserv_worker_exits_total', { model: MODEL, cause: 'crashed' })).toBe(0);
  });
});

test('the backlog of the usage file is shown', async () => {
  const read = await testMetrics().read();
  expect(read.value('lmserv_usage_rows_waiting')).toBe(4);
  expect(read.value('lmserv_usage_requests_uncounted_total')).toBe(5);
});

describe('pools', () => {
  test('count workers that start, and workers that exit by cause', async () => {
    const metrics = testMetrics();
    const pool = metrics.poolObserver;
    pool.workerReady({ model: MODEL, ms: 700 });
    pool.workerExited({ model: MODEL, cause: 'killed' });
    pool.workerExited({ model: MODEL, cause: 'killed' });
    pool.workerExited({ model: MODEL, cause: 'hung' });
    const read = await metrics.read();
    const exits = (cause: string) => read.value('lmserv_worker_exits_total', { model: MODEL, cause });
    const causes = ['killed', 'hung', 'crashed', 'shutdown', 'recycled', 'start_failed'];
    expect(causes.map(exits)).toEqual([2, 1, 0, 0, 0, 0]);
    expect(read.value('lmserv_worker_start_duration_seconds_bucket', { le: '1' })).toBe(1);
    expect(read.value('lmserv_worker_start_duration_seconds_bucket', { le: '0.5' })).toBe(0);
  });

  test('count resumed replies, retried requests, repaired calls and waits', async () => {
    const metrics = testMetrics();
    const pool = metrics.poolObserver;
    pool.resumed({ model: MODEL });
    pool.retried({ model: MODEL });
    pool.retried({ model: MODEL });
    pool.callRepaired({ model: MODEL, repaired: true });
    pool.callRepaired({ model: MODEL, repaired: true });
    pool.callRepaired({ model: MODEL, repaired: false });
    pool.waited({ model: MODEL, ms: 40, outcome: 'leased' });
    pool.waited({ model: MODEL, ms: 30_000, outcome: 'timeout' });
    const read = await metrics.read();
    expect(read.value('lmserv_replies_resumed_total', { model: MODEL })).toBe(1);
    expect(read.value('lmserv_requests_retried_total', { model: MODEL })).toBe(2);
    const slips = (outcome: string) => read.value('lmserv_call_slips_total', { model: MODEL, outcome });
    expect(['repaired', 'delivered'].map(slips)).toEqual([2, 1]);
    expect(read.value('lmserv_queue_wait_seconds_sum', { outcome: 'leased' })).toBe(0.04);
    expect(read.value('lmserv_queue_wait_seconds_sum', { outcome: 'timeout' })).toBe(30);
  });
});

describe('the current state', () => {
  test('has queue, slots, workers and versions', async () => {
    const read = await testMetrics().read();
    expect(read.value('lmserv_model_ready', { model: MODEL })).toBe(1);
    expect(read.value('lmserv_slots', { model: MODEL })).toBe(4);
    expect(read.value('lmserv_slots_idle', { model: MODEL })).toBe(3);
    expect(read.value('lmserv_queue_waiting', { model: MODEL })).toBe(5);
    expect(read.value('lmserv_queue_limit', { model: MODEL })).toBe(64);
    const states = ['starting', 'idle', 'busy', 'suspected', 'draining', 'dead'];
    expect(states.map((state) => read.value('lmserv_workers', { state }))).toEqual([0, 1, 1, 0, 0, 0]);
    expect(read.value('lmserv_llama_cpp_info', { version: '0.5.0' })).toBe(1);
    expect(read.value('lmserv_build_info', { version: '1.2.3' })).toBe(1);
    expect(read.value('lmserv_log_lines_dropped_total')).toBe(3);
  });

  test('has the stalls of the event loop, in seconds', async () => {
    const metrics = testMetrics();
    metrics.stalled(1_500);
    metrics.stalled(6_000);
    const read = await metrics.read();
    expect(read.value('lmserv_event_loop_stall_seconds_count')).toBe(2);
    expect(read.value('lmserv_event_loop_stall_seconds_sum')).toBe(7.5);
    expect(read.value('lmserv_event_loop_stall_seconds_bucket', { le: '2.5' })).toBe(1);
  });

  test('has memory, requests and start of each worker by its position', async () => {
    const read = await testMetrics().read();
    const memory = (name: string, kind: string) =>
      read.value('lmserv_worker_memory_bytes', { model: MODEL, worker: name, kind });
    expect([memory('0', 'anonymous'), memory('1', 'mapped')]).toEqual([100, 900]);
    expect(read.value('lmserv_worker_requests_total', { worker: '1' })).toBe(12);
    expect(read.value('lmserv_worker_start_time_seconds', { worker: '0' })).toBe(1_700_000_000.5);
  });

  test('has one series for a position with two processes', async () => {
    const old = worker({ id: `${MODEL}#0.1`, state: 'draining', requests: 900, startedAt: 1_000 });
    const fresh = worker({ id: `${MODEL}#0.3`, requests: 1, startedAt: 2_000 });
    const read = await testMetrics({ models: () => [served({ workers: [old, fresh] })] }).read();
    expect(read.value('lmserv_worker_memory_bytes', { kind: 'anonymous' })).toBe(200);
    expect(read.value('lmserv_worker_requests_total')).toBe(1);
    expect(read.value('lmserv_worker_start_time_seconds')).toBe(2);
  });

  test('a worker whose memory cannot be read has no series for it', async () => {
    const read = await testMetrics({ memoryOf: async () => undefined }).read();
    expect(read.family('lmserv_worker_memory_bytes').samples).toEqual([]);
    expect(read.value('lmserv_worker_requests_total', { worker: '0' })).toBe(12);
  });

  test('has the memory of a model by device, and its layers by place, for each worker', async () => {
    const read = await testMetrics().read();
    const memory = (device: string, kind: string) =>
      read.value('lmserv_worker_model_memory_bytes', { model: MODEL, worker: '1', device, kind });
    expect([memory('host', 'model'), memory('host', 'compute'), memory('CUDA0', 'context')]).toEqual([
      30, 2, 200,
    ]);
    const layers = (place: string) => read.value('lmserv_worker_layers', { worker: '0', place });
    expect([layers('gpu'), layers('cpu')]).toEqual([4, 1]);
  });

  test('a worker that has not loaded its model has no series for its memory and layers', async () => {
    const loading = worker({ state: 'starting', memory: [], offload: undefined });
    const read = await testMetrics({ models: () => [served({ workers: [loading] })] }).read();
    for (const name of ['lmserv_worker_model_memory_bytes', 'lmserv_worker_layers'])
      expect(read.family(name).samples).toEqual([]);
    expect(read.value('lmserv_workers_lacking_gpu', { model: MODEL })).toBe(0);
  });

  test('counts the workers that lack their GPU', async () => {
    const offload = { offloaded: 0, total: 5, requested: 99, lacking: true };
    const workers = [worker({ offload }), worker({ position: 1 })];
    const read = await testMetrics({ models: () => [served({ workers })] }).read();
    expect(read.value('lmserv_workers_lacking_gpu', { model: MODEL })).toBe(1);
    expect(read.value('lmserv_worker_layers', { worker: '0', place: 'cpu' })).toBe(5);
  });

  test('has memory, temperature and power of the GPUs, and nothing of one that is gone', async () => {
    let gpus = [GPU, { device: 'CUDA1', name: 'NVIDIA H200', total: 2_000, free: 2_000 }];
    const metrics = testMetrics({ gpus: async () => gpus });
    const read = await metrics.read();
    const { device, name } = GPU;
    expect(read.value('lmserv_gpu_memory_bytes', { device, name, kind: 'total' })).toBe(9_000);
    expect(read.value('lmserv_gpu_memory_bytes', { device: 'CUDA1', kind: 'free' })).toBe(2_000);
    expect(read.value('lmserv_gpu_temperature_celsius', { device })).toBe(31);
    expect(read.value('lmserv_gpu_power_watts', { device })).toBe(74.5);
    expect(read.value('lmserv_gpu_power_watts', { device: 'CUDA1' })).toBeUndefined();
    gpus = [];
    expect((await metrics.read()).family('lmserv_gpu_memory_bytes').samples).toEqual([]);
  });

  test('no longer has a removed model, whose counters remain', async () => {
    let models = [served(), served({ model: 'old', workers: [], status: status({ ready: false }) })];
    const metrics = testMetrics({ models: () => models });
    metrics.requestDone(finished({ trace: { ...whole, model: 'old' } }));
    expect((await metrics.read()).value('lmserv_model_ready', { model: 'old' })).toBe(0);
    models = [served()];
    const read = await metrics.read();
    for (const name of ['lmserv_model_ready', 'lmserv_slots'])
      expect(read.value(name, { model: 'old' })).toBeUndefined();
    expect(read.value('lmserv_workers', { model: 'old', state: 'idle' })).toBeUndefined();
    expect(read.value('lmserv_completion_tokens_total', { model: 'old' })).toBe(4);
  });

  test('has neither workers nor a queue for a remote model', async () => {
    const none = { total: 0, idle: 0, busy: 0, starting: 0, dead: 0 };
    const counts = { workers: none, slots: { total: 0, idle: 0 }, queue: { waiting: 0, limit: 0 } };
    const remote = status({ ...counts, state: undefined });
    const models = () => [served({ model: 'cloud', status: remote, workers: [], llamaCpp: undefined })];
    const read = await testMetrics({ models }).read();
    expect(read.value('lmserv_model_ready', { model: 'cloud' })).toBe(1);
    for (const name of ['lmserv_slots', 'lmserv_queue_limit', 'lmserv_workers', 'lmserv_worker_exits_total'])
      expect(read.family(name).samples).toEqual([]);
  });

  test('has the failures of backends by code, even if another backend replied', async () => {
    const metrics = testMetrics();
    metrics.backendFailed({ model: 'cloud', error: { code: 'provider_timeout' } });
    const read = await metrics.read();
    expect(read.value('lmserv_backend_failures_total', { model: 'cloud', code: 'provider_timeout' })).toBe(1);
  });
});

describe('the exposition', () => {
  test('contains the process itself', async () => {
    const read = await testMetrics().read();
    expect(read.value('process_cpu_seconds_total')).toBeGreaterThan(0);
    expect(read.value('nodejs_eventloop_lag_p99_seconds')).toBeLessThan(60);
  });

  test('contains numbers even if the process is blocked during a scrape', async () => {
    const metrics = testMetrics();
    await metrics.read();
    const reading = metrics.read();
    const until = performance.now() + 150;
    while (performance.now() < until);
    const lag = (await reading).value('nodejs_eventloop_lag_max_seconds');
    expect(lag).toBeGreaterThan(0);
  });

  test('is separate for two servers in one process', async () => {
    const [one, other] = [testMetrics(), testMetrics()];
    one.requestDone(finished({ trace: whole }));
    expect((await one.read()).value('lmserv_completion_tokens_total')).toBe(4);
    expect((await other.read()).value('lmserv_completion_tokens_total')).toBe(0);
  });

  test('is shared by simultaneous scrapes, and new for the next', async () => {
    let reads = 0;
    const metrics = testMetrics({ models: () => ((reads += 1), []) });
    const [one, other] = await Promise.all([metrics.expose(), metrics.expose()]);
    expect(other).toBe(one);
    await metrics.expose();
    expect(reads).toBe(2);
  });

  test('works again after a scrape that failed', async () => {
    let broken = true;
    const metrics = testMetrics({
      models: () => {
        if (broken) throw new Error('not now');
        return [];
      },
    });
    await expect(metrics.expose()).rejects.toThrow('not now');
    broken = false;
    await expect(metrics.read()).resolves.toBeDefined();
  });

  test('follows the naming conventions: prefix, base units, _total for counters only', async () => {
    const { families } = await testMetrics().read();
    const own = families.filter(({ name }) => name.startsWith('lmserv_'));
    expect(own.length).toBeGreaterThan(25);
    for (const { name, type } of families)
      expect([name, name.endsWith('_total')]).toEqual([name, type === 'counter']);
    for (const { name, help } of own) {
      expect(name).not.toMatch(/_(ms|milliseconds|mib|percent)\b/);
      expect(help).toMatch(/^[A-Z].*[.]$/);
    }
  });
});

test('the memory of a process that does not exist is unknown', async () => {
  expect(readMemory(2 ** 30)).toBeUndefined();
});

(process.platform === 'linux' ? test : test.failing)('the memory of a process is read from /proc', () => {
  const { anonymous, mapped } = readMemory(process.pid)!;
  expect(Math.min(anonymous, mapped)).toBeGreaterThan(1_000_000);
});
