import { withoutWorkers } from '../../src/backends/status.js';
import type { CustomBackend } from '../../src/contract.js';
import { RoutingPolicy } from '../../src/dialects/llm-connect/routing-policy.js';
import { BadRemote } from '../support/bad-remote.js';
import { exchange, get, json, outcome, type Reply } from '../support/exchange.js';
import { DISH as prompt } from './requests.js';
import { demoModel, killWorkersUntil, LiveServer, writeConfig } from '../support/live.js';

/** LMServ as llm-connect's HTTP client uses it: no key, `Accept: *\/*`, POST /execute. On real llama.cpp. */

const headers = { Accept: '*/*', 'User-Agent': 'python-requests/2.32.3' };
const CANARY = 'sk-canary-llm-connect-0123456789';

/** Another kind of backend, with a mistake in its program. */
const buggy: CustomBackend = {
  name: 'buggy',

  async *generate() {
    throw new Error('a mistake of the program’s own');
  },
  status: () => withoutWorkers(true),
  start: () => undefined,
  stop: async () => undefined,
};

let remote: BadRemote;
/** Stands for OpenRouter: another LMServ, which takes every model name for its own. */
let upstream: LiveServer;
let live: LiveServer;
let strict: LiveServer;

beforeAll(async () => {
  process.env.LMSERV_TEST_CANARY = CANARY;
  remote = await new BadRemote().start();
  upstream = await new LiveServer({ UNKNOWN_MODEL: 'default', KEYLESS_NETWORKS: '127.0.0.0/8' }).start();
  const bad = (fault: 'fails' | 'limits' | 'hangs') => ({
    ...{ baseUrl: remote.url(fault), model: 'x', apiKeyEnv: 'LMSERV_TEST_CANARY', retries: { attempts: 0 } },
    timeouts: { firstTokenSecs: 86_400 },
  });
  const model = 'anthropic/claude-sonnet-4';
  const claude = { baseUrl: upstream.url, model, provider: 'openrouter', kind: 'llama' };
  live = await new LiveServer(
    (folder) => ({
      LMSERV_CONFIG: writeConfig(folder, {
        models: { demo: demoModel({ slots: 2 }) },
        remotes: { claude, fails: bad('fails'), limits: bad('limits'), hangs: bad('hangs') },
        tenants: { poor: { budget: { dayTokens: 0 } } },
      }),
      KEYLESS_NETWORKS: '127.0.0.0/8',
      HEALTH_FORMAT: 'json',
      // A worker that dies is what one test is about.
      REPLY_RESUME: 'off',
      LLM_CONNECT_PROFILES_JSON: JSON.stringify({
        brief: { model: 'demo', max_tokens: 3, temperature: 0, max_depth: 4 },
        nowhere: { provider: 'unheard-of', model: 'x' },
      }),
    }),
    {
      backends: { buggy },
      routingPolicy: new RoutingPolicy({ rules: [{ taskType: 'triage', model: 'brief' }] }),
    },
  ).start();
  strict = await new LiveServer({ KEYLESS_NETWORKS: '127.0.0.0/8' }, { strictProfiles: true }).start();
});

afterAll(async () => {
  await Promise.all([live.stop(), strict.stop(), upstream.stop(), remote.stop()]);
  delete process.env.LMSERV_TEST_CANARY;
});

const execute = (body: object | string, server = live): Promise<Reply> =>
  exchange(`${server.url}/execute`, { headers, body });

test('health is JSON with status ok for a client that sends Accept */*', async () => {
  const reply = await get(`${live.url}/health`, headers);
  expect(reply.status).toBe(200);
  expect(json(reply)).toMatchObject({ status: 'ok', model: 'demo' });
});

describe('POST /execute', () => {
  test('a bare prompt: content, the model that answered, usage, finish_reason, metadata', async () => {
    const reply = await execute({ prompt });
    expect(reply.status).toBe(200);
    const body = json(reply);
    expect(body).toEqual({
      content: expect.stringMatching(/./),
      model: 'demo',
      usage: {
        prompt_tokens: expect.any(Number),
        completion_tokens: expect.any(Number),
        total_tokens: body.usage.prompt_tokens + body.usage.completion_tokens,
      },
      finish_reason: 'stop',
      metadata: {},
    });
    expect(body.usage.prompt_tokens).toBeGreaterThan(5);
  });

  test('a whole config, as the client sends it', async () => {
    const reply = await execute({
      prompt,
      config: {
        ...{ model_name: 'gpt-4', temperature: 0, max_tokens: 2000, timeout_seconds: 300 },
        ...{ task_type: 'extraction', max_depth: 2, model_params: { top_p: 0.9, unheard_of: 1 } },
      },
    });
    expect(json(reply)).toMatchObject({
      content: expect.stringMatching(/ceviche/i),
      model: 'demo',
      metadata: { max_depth: 2 },
    });
  });

  test('max_tokens cuts: finish_reason length', async () => {
    const reply = await execute({ prompt, config: { max_tokens: 2 } });
    expect(json(reply)).toMatchObject({ finish_reason: 'length', usage: { completion_tokens: 2 } });
  });
});

describe('profiles', () => {
  test('the built-in profile goes to its provider', async () => {
    const before = upstream.logged('request').length;
    const config = { model_name: 'custodian-triage-balanced', temperature: 0 };
    const reply = await execute({ prompt, config });
    expect(json(reply)).toMatchObject({
      content: expect.stringMatching(/ceviche/i),
      model: 'claude',
      metadata: { max_depth: 2 },
    });
    expect(upstream.logged('request').length).toBe(before + 1);
  });

  test('a custom profile sets values, which the request overrides', async () => {
    const own = json(await execute({ prompt, config: { model_name: 'brief' } }));
    expect(own).toMatchObject({ usage: { completion_tokens: 3 }, metadata: { max_depth: 4 } });
    const given = json(await execute({ prompt, config: { model_name: 'brief', max_tokens: 5 } }));
    expect(given).toMatchObject({ usage: { completion_tokens: 5 }, metadata: { max_depth: 4 } });
  });

  test('the routing policy chooses by task_type', async () => {
    const routed = json(await execute({ prompt, config: { task_type: 'triage' } }));
    expect(routed).toMatchObject({ usage: { completion_tokens: 3 }, metadata: { max_depth: 4 } });
  });

  test('strict profiles refuse an unknown name with unknown_profile and still serve a request without one', async () => {
    const reply = await execute({ prompt, config: { model_name: 'gpt-4' } }, strict);
    expect(reply.status).toBe(500);
    expect(json(reply)).toMatchObject({ error: 'unknown_profile', type: 'LLMConfigurationError' });
    expect((await execute({ prompt, config: { max_tokens: 1 } }, strict)).status).toBe(200);
  });
});

describe('errors', () => {
  const failed = async (body: object | string, status: number, error: string, type: string) => {
    const reply = await execute(body);
    expect({ status: reply.status, ...json(reply) }).toMatchObject({ status, error, type });
    expect(json(reply).message).toMatch(/./);
    expect(reply.headers['x-request-id']).toMatch(/./);
    return json(reply);
  };
  const on = (model_name: string, more = {}) => ({ prompt, config: { model_name, ...more } });

  test.each([
    ['no prompt', { config: {} }, 'invalid_value'],
    ['an empty prompt', { prompt: '' }, 'invalid_value'],
    ['a temperature out of range', { prompt, config: { temperature: 9 } }, 'invalid_value'],
    ['bad JSON', '{"prompt": ', 'invalid_json'],
  ])('%s is 400', async (_name, body, code) => {
    await failed(body, 400, code, 'LLMError');
  });

  test('an unknown path is 404', async () => {
    expect((await exchange(`${live.url}/executes`, { headers, body: { prompt } })).status).toBe(404);
  });

  test.each([
    ['provider_rate_limited', 'limits', 429, 'LLMRateLimitError', 429],
    ['provider_api_error', 'fails', 502, 'LLMAPIError', 500],
  ])('%s with the provider’s own status', async (code, model, status, type, theirs) => {
    expect((await failed(on(model), status, code, type)).provider_status).toBe(theirs);
  });

  test('provider_timeout at the request’s own limit', async () => {
    const slow = on('hangs', { timeout_seconds: 0.3 });
    const body = await failed(slow, 504, 'provider_timeout', 'LLMTimeoutError');
    expect(body.message).toContain('0.3 s');
  });

  test('a provider that is not configured is configuration_error', async () => {
    await failed(on('nowhere'), 500, 'configuration_error', 'LLMConfigurationError');
  });

  test('a bug is internal_error without its text', async () => {
    const body = await failed(on('buggy'), 500, 'internal_error', 'LLMError');
    expect(body.message).not.toContain('mistake');
  });

  test('a worker that dies is llm_error', async () => {
    const config = { max_tokens: 3000, model_params: { ignore_eos: true } };
    const reply = await killWorkersUntil(live, execute({ prompt, config }));
    expect(outcome(reply)).toMatchObject({ status: 500, error: 'llm_error', type: 'LLMError' });
    await live.untilReady(({ workers }) => workers.idle === 1);
  });

  test('a used-up budget is budget_exceeded with Retry-After', async () => {
    const paying = await new LiveServer((folder) => ({
      LMSERV_CONFIG: writeConfig(folder, {
        models: { demo: demoModel() },
        tenants: { anonymous: { budget: { dayTokens: 1 } } },
      }),
      KEYLESS_NETWORKS: '127.0.0.0/8',
    })).start();
    try {
      expect((await execute({ prompt, config: { max_tokens: 1 } }, paying)).status).toBe(200);
      const reply = await execute({ prompt }, paying);
      expect(reply.status).toBe(429);
      expect(json(reply)).toMatchObject({ error: 'budget_exceeded', type: 'LLMBudgetExceededError' });
      expect(Number(reply.headers['retry-after'])).toBeGreaterThan(0);
    } finally {
      await paying.stop();
    }
  });

  test('credentials are redacted from messages, headers and log lines', async () => {
    for (const model of ['fails', 'limits']) {
      const reply = await execute(on(model));
      expect(json(reply).message).toContain('[redacted]');
      expect(JSON.stringify(reply)).not.toContain(CANARY);
    }
    expect(remote.asked.fails).toContain(`Bearer ${CANARY}`);
    expect(JSON.stringify(live.lines)).not.toContain(CANARY);
  });
});

test('the mock provider replies without a model', async () => {
  const mock = await new LiveServer({
    KEYLESS_NETWORKS: '127.0.0.0/8',
    LLM_CONNECT_PROVIDER: 'mock',
  }).start();
  try {
    expect(mock.server.workerPids()).toEqual([]);
    const reply = await execute({ prompt }, mock);
    expect(json(reply)).toMatchObject({ content: expect.stringMatching(/mock/), model: 'mock' });
  } finally {
    await mock.stop();
  }
});
