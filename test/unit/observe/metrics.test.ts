import { readMemory } from '../../../src/observe/process-memory.js';
import { finished, gaps, MODEL, served, status, testMetrics, worker } from './helpers.js';

const whole = {
  model: MODEL,
  promptTokens: 30,
  cachedTokens: 20,
  completionTokens: 4,
  firstTokenMs: 80,
  finishReason: 'stop' as const,
  tokenGaps: gaps(20, 20, 300),
};

describe('requests', () => {
  test('are counted by route, outcome and status, with the time they took', async () => {
    const metrics = testMetrics();
    metrics.requestDone(finished());
    metrics.requestDone(finished({ ms: 500 }));
    metrics.requestDone(finished({ status: 503, outcome: 'refused', error: 'queue_full', ms: 2 }));
    const read = await metrics.read();
    const ok = { route: '/chat', outcome: 'finished', status: '200' };
    expect(read.value('lmserv_http_requests_total', ok)).toBe(2);
    expect(read.value('lmserv_http_requests_total', { status: '503' })).toBe(1);
    expect(read.value('lmserv_http_request_errors_total', { code: 'queue_full' })).toBe(1);
    expect(read.value('lmserv_http_request_duration_seconds_sum', { route: '/chat' })).toBeCloseTo(2.002, 9);
    expect(read.value('lmserv_http_request_duration_seconds_bucket', { le: '0.5' })).toBe(2);
  });

  test('a route that is a list or a regular expression cannot spoil the form', async () => {
    const metrics = testMetrics();
    metrics.requestDone(finished({ route: /^\/"a"$/ as unknown as string }));
    metrics.requestDone(finished({ route: ['/a', '/b'] as unknown as string }));
    const { samples } = (await metrics.read()).family('lmserv_http_requests_total');
    expect(samples.map(({ labels }) => labels.route)).toEqual(['/^\\\\/\\"a\\"$/', '/a,/b']);
  });
});

describe('generations', () => {
  test('give their tokens, their first token and each gap to their model', async () => {
    const metrics = testMetrics();
    metrics.requestDone(finished({ trace: whole }));
    metrics.requestDone(finished({ trace: { ...whole, tokenGaps: gaps(20) } }));
    const read = await metrics.read();
    expect(read.value('lmserv_generations_total', { model: MODEL, outcome: 'finished' })).toBe(2);
    expect(read.value('lmserv_prompt_tokens_total', { model: MODEL })).toBe(60);
    expect(read.value('lmserv_completion_tokens_total', { model: MODEL })).toBe(8);
    expect(read.value('lmserv_time_to_first_token_seconds_count', { model: MODEL })).toBe(2);
    expect(read.value('lmserv_time_to_first_token_seconds_sum', { model: MODEL })).toBeCloseTo(0.16, 9);
    expect(read.value('lmserv_inter_token_latency_seconds_count', { model: MODEL })).toBe(4);
    expect(read.value('lmserv_inter_token_latency_seconds_bucket', { le: '0.025' })).toBe(3);
    expect(read.value('lmserv_inter_token_latency_seconds_sum', { model: MODEL })).toBeCloseTo(0.36, 9);
  });

  test('a reply that was not finished says nothing of the prefix cache', async () => {
    const metrics = testMetrics();
    metrics.requestDone(finished({ trace: whole }));
    metrics.requestDone(finished({ trace: { ...whole, cachedTokens: 0 } }));
    const { finishReason: _, ...cut } = { ...whole, cachedTokens: 0 };
    metrics.requestDone(finished({ outcome: 'cancelled', trace: cut }));
    const read = await metrics.read();
    expect(read.value('lmserv_prefix_cache_lookups_total')).toBe(2);
    expect(read.value('lmserv_prefix_cache_hits_total')).toBe(1);
    expect(read.value('lmserv_prefix_cache_prompt_tokens_total')).toBe(60);
    expect(read.value('lmserv_prefix_cache_hit_tokens_total')).toBe(20);
    expect(read.value('lmserv_prompt_tokens_total')).toBe(90);
  });

  test('one that was refused before it had a model, and other routes, belong to no model', async () => {
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

test('what the usage file has not taken shows', async () => {
  const read = await testMetrics().read();
  expect(read.value('lmserv_usage_rows_waiting')).toBe(4);
  expect(read.value('lmserv_usage_requests_uncounted_total')).toBe(5);
});

describe('pools', () => {
  test('workers that come and go are counted by cause', async () => {
    const metrics = testMetrics();
    const pool = metrics.poolObserver;
    pool.workerReady({ model: MODEL, ms: 700 });
    pool.workerExited({ model: MODEL, cause: 'killed' });
    pool.workerExited({ model: MODEL, cause: 'killed' });
    pool.workerExited({ model: MODEL, cause: 'hung' });
    const read = await metrics.read();
    const exits = (cause: string) => read.value('lmserv_worker_exits_total', { model: MODEL, cause });
    expect(['killed', 'hung', 'crashed', 'shutdown', 'recycled', 'start_failed'].map(exits)).toEqual([
      ...[2, 1, 0, 0, 0, 0],
    ]);
    expect(read.value('lmserv_worker_start_duration_seconds_bucket', { le: '1' })).toBe(1);
    expect(read.value('lmserv_worker_start_duration_seconds_bucket', { le: '0.5' })).toBe(0);
  });

  test('resumed replies, repeated requests and waits are counted', async () => {
    const metrics = testMetrics();
    const pool = metrics.poolObserver;
    pool.resumed({ model: MODEL });
    pool.retried({ model: MODEL });
    pool.retried({ model: MODEL });
    pool.waited({ model: MODEL, ms: 40, outcome: 'leased' });
    pool.waited({ model: MODEL, ms: 30_000, outcome: 'timeout' });
    const read = await metrics.read();
    expect(read.value('lmserv_replies_resumed_total', { model: MODEL })).toBe(1);
    expect(read.value('lmserv_requests_retried_total', { model: MODEL })).toBe(2);
    expect(read.value('lmserv_queue_wait_seconds_sum', { outcome: 'leased' })).toBe(0.04);
    expect(read.value('lmserv_queue_wait_seconds_sum', { outcome: 'timeout' })).toBe(30);
  });
});

describe('what serves now', () => {
  test('queue, slots, workers and versions', async () => {
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

  test('stalls of the event loop, in seconds', async () => {
    const metrics = testMetrics();
    metrics.stalled(1_500);
    metrics.stalled(6_000);
    const read = await metrics.read();
    expect(read.value('lmserv_event_loop_stall_seconds_count')).toBe(2);
    expect(read.value('lmserv_event_loop_stall_seconds_sum')).toBe(7.5);
    expect(read.value('lmserv_event_loop_stall_seconds_bucket', { le: '2.5' })).toBe(1);
  });

  test('each worker by its place: memory, requests, start', async () => {
    const read = await testMetrics().read();
    const memory = (name: string, kind: string) =>
      read.value('lmserv_worker_memory_bytes', { model: MODEL, worker: name, kind });
    expect([memory('0', 'anonymous'), memory('1', 'mapped')]).toEqual([100, 900]);
    expect(read.value('lmserv_worker_requests_total', { worker: '1' })).toBe(12);
    expect(read.value('lmserv_worker_start_time_seconds', { worker: '0' })).toBe(1_700_000_000.5);
  });

  test('a place that two processes hold is one series', async () => {
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

  test('what is gone shows no more, what was counted stays', async () => {
    let models = [served(), served({ model: 'old', workers: [], status: status({ ready: false }) })];
    const metrics = testMetrics({ models: () => models });
    metrics.requestDone(finished({ trace: { ...whole, model: 'old' } }));
    expect((await metrics.read()).value('lmserv_model_ready', { model: 'old' })).toBe(0);
    models = [served()];
    const read = await metrics.read();
    for (const name of ['lmserv_model_ready', 'lmserv_slots', 'lmserv_workers'])
      expect(
        read.value(name, { model: 'old', ...(name === 'lmserv_workers' ? { state: 'idle' } : {}) }),
      ).toBeUndefined();
    expect(read.value('lmserv_completion_tokens_total', { model: 'old' })).toBe(4);
  });

  test('a model on another server has neither workers nor a queue', async () => {
    const none = { total: 0, idle: 0, busy: 0, starting: 0, dead: 0 };
    const remote = status({ workers: none, slots: { total: 0, idle: 0 }, queue: { waiting: 0, limit: 0 } });
    const models = () => [served({ model: 'cloud', status: remote, workers: [], llamaCpp: undefined })];
    const read = await testMetrics({ models }).read();
    expect(read.value('lmserv_model_ready', { model: 'cloud' })).toBe(1);
    for (const name of ['lmserv_slots', 'lmserv_queue_limit', 'lmserv_workers', 'lmserv_worker_exits_total'])
      expect(read.family(name).samples).toEqual([]);
  });

  test('a failure that another backend may make good is counted by its code', async () => {
    const metrics = testMetrics();
    metrics.backendFailed({ model: 'cloud', error: { code: 'provider_timeout' } });
    const read = await metrics.read();
    expect(read.value('lmserv_backend_failures_total', { model: 'cloud', code: 'provider_timeout' })).toBe(1);
  });
});

describe('exposition', () => {
  test('the process itself is in it', async () => {
    const read = await testMetrics().read();
    expect(read.value('process_cpu_seconds_total')).toBeGreaterThan(0);
    expect(read.value('nodejs_eventloop_lag_p99_seconds')).toBeLessThan(60);
  });

  test('a process that is held up while it is scraped still gives numbers', async () => {
    const metrics = testMetrics();
    await metrics.read();
    const reading = metrics.read();
    const until = performance.now() + 150;
    while (performance.now() < until);
    const lag = (await reading).value('nodejs_eventloop_lag_max_seconds');
    expect(lag).toBeGreaterThan(0);
  });

  test('two servers in one process count apart', async () => {
    const [one, other] = [testMetrics(), testMetrics()];
    one.requestDone(finished({ trace: whole }));
    expect((await one.read()).value('lmserv_completion_tokens_total')).toBe(4);
    expect((await other.read()).value('lmserv_completion_tokens_total')).toBe(0);
  });

  test('scrapes at the same time share one look, the next has one of its own', async () => {
    let looks = 0;
    const metrics = testMetrics({
      models: () => {
        looks += 1;
        return [];
      },
    });
    const [one, other] = await Promise.all([metrics.expose(), metrics.expose()]);
    expect(other).toBe(one);
    await metrics.expose();
    expect(looks).toBe(2);
  });

  test('a scrape that fails does not spoil the next', async () => {
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

  test('names follow the conventions: our prefix, base units, _total for counters alone', async () => {
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

test('the memory of a process that is gone is unknown', async () => {
  expect(readMemory(2 ** 30)).toBeUndefined();
});

(process.platform === 'linux' ? test : test.failing)(
  'the memory of this process is read from /proc',
  async () => {
    const memory = readMemory(process.pid)!;
    expect(memory.anonymous).toBeGreaterThan(1_000_000);
    expect(memory.mapped).toBeGreaterThan(1_000_000);
  },
);
