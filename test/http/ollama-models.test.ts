import type { ModelDetails, ModelInfo, ModelMemory, WorkerInfo } from '../../src/contract.js';
import type { AdminSource } from '../../src/http/admin-routes.js';
import { fakeBackends, get, KEY, post, testApp, type TestOptions } from '../support/app.js';
import supertest from 'supertest';

/** Ollama's lists of models, and the routes that change them. */

const CREATED = 1_700_000_000;
const DATE = '2023-11-14T22:13:20.000Z';
const NEVER = '9999-12-31T23:59:59.000Z';

const facts: ModelDetails = {
  state: 'loaded',
  capabilities: ['chat', 'completion', 'tools', 'json_schema', 'reasoning', 'images'],
  ...{ architecture: 'llama', contextLength: 4_096, sizeBytes: 3_000_000 },
  ...{ quantization: 'Q4_K - Medium', parameters: 8_030_000_000 },
};

const model = (id: string, details?: ModelDetails): ModelInfo => ({
  ...{ id, created: CREATED, ownedBy: 'lmserv' },
  ...(details && { details }),
});

const LIST = [
  model('demo', facts),
  model('org/big:8b', { ...facts, sizeBytes: 4, quantization: 'all F32', parameters: 1_600_000 }),
  model('far'),
];

const details = {
  ...{ parent_model: '', format: 'gguf', family: 'llama', families: ['llama'] },
  ...{ parameter_size: '8.0B', quantization_level: 'Q4_K_M' },
};
const unknown = {
  ...{ parent_model: '', format: '', family: '', families: [], parameter_size: '', quantization_level: '' },
};

function serving(models: readonly ModelMemory[] = [], more: Partial<TestOptions> = {}) {
  const backends = {
    ...fakeBackends(),
    registry: { list: () => LIST, defaultId: 'demo', defaultModels: ['demo'], takesImages: false },
    served: () => [{ model: 'demo', workers: [worker, worker] }],
  };
  const admin = { memory: { models: () => models } } as AdminSource;
  return testApp({ backends, admin, ...more });
}

const onGpu = { device: 'CUDA0', model: 100, mapped: 0, context: 20, compute: 3 };
const worker = { memory: [onGpu, { ...onGpu, device: 'host' }] } as unknown as WorkerInfo;

test('/api/version is one whose API this is', async () => {
  const { body } = await get('/api/version').expect(200);
  expect(body).toEqual({ version: expect.stringMatching(/^0\.1\d\.\d+$/) });
  await supertest(testApp()).head('/api/version').set('X-API-Key', KEY).expect(200);
});

test('/api/tags lists the models, all with a tag', async () => {
  const { body } = await get('/api/tags', serving()).expect(200);
  const listed = (name: string, size: number, of: object) => {
    const digest = expect.stringMatching(/^[0-9a-f]{64}$/);
    return { name, model: name, modified_at: DATE, size, digest, details: of };
  };
  expect(body).toEqual({
    models: [
      listed('demo:latest', 3_000_000, details),
      listed('org/big:8b', 4, { ...details, parameter_size: '1.6M', quantization_level: 'F32' }),
      listed('far:latest', 0, unknown),
    ],
  });
  const digests = body.models.map(({ digest }: { digest: string }) => digest);
  expect(new Set(digests).size).toBe(3);
  expect((await get('/api/tags', serving())).body).toEqual(body);
});

test('/api/show finds a model whose name has the tag without it', async () => {
  const backends = fakeBackends();
  const registry = { ...backends.registry, list: () => [model('tagged:latest')] };
  await post('/api/show', { model: 'tagged' }, testApp({ backends: { ...backends, registry } })).expect(200);
});

describe('/api/show', () => {
  const show = (body: object) => post('/api/show', body, serving());

  test.each([{ model: 'demo' }, { model: 'demo:latest' }, { name: 'demo' }, {}])(
    '%j tells what is known of a model',
    async (asked) => {
      const { body } = await show(asked).expect(200);
      expect(body).toEqual({
        ...{ license: '', modelfile: 'FROM demo\n', template: '', modified_at: DATE, details },
        parameters: expect.stringMatching(/^num_ctx +4096$/),
        model_info: {
          'general.architecture': 'llama',
          'general.basename': 'demo',
          'general.parameter_count': 8_030_000_000,
          'llama.context_length': 4_096,
        },
        capabilities: ['completion', 'tools', 'thinking', 'vision'],
      });
    },
  );

  test('leaves out what is not known', async () => {
    const { body } = await show({ model: 'far' }).expect(200);
    expect(body).toMatchObject({ parameters: '', details: unknown, capabilities: [] });
    expect(body.model_info).toEqual({ 'general.architecture': 'unknown', 'general.basename': 'far' });
  });

  test('of an unknown model is 404', async () => {
    expect((await show({ model: 'nobody' }).expect(404)).body).toEqual({
      error: 'model not found: There is no such model',
    });
  });

  test('with a wrong field is 400', async () => {
    expect((await show({ model: 7 }).expect(400)).body.error).toMatch(/^model: /);
  });
});

describe('/api/ps', () => {
  const memory = (id: string, more: Partial<ModelMemory> = {}): ModelMemory => ({
    ...{ id, state: 'loaded', pinned: false, busy: false, estimated: false, lastUsed: CREATED * 1_000 },
    ...more,
  });
  const ps = async (models: ModelMemory[], modelIdleMs = 60_000) =>
    (await get('/api/ps', serving(models, { modelIdleMs })).expect(200)).body.models;

  test('lists what is in memory, with its size there', async () => {
    const [first, second, ...others] = await ps([
      memory('demo', { bytes: 250 }),
      memory('org/big:8b', { state: 'loading' }),
      memory('far', { state: 'unloaded' }),
    ]);
    expect(first).toEqual({
      ...{ name: 'demo:latest', model: 'demo:latest', digest: expect.any(String), details },
      ...{ size: 250, size_vram: 246, context_length: 4_096, expires_at: NEVER },
    });
    expect(second).toMatchObject({ name: 'org/big:8b', size: 4, size_vram: 0 });
    expect(others).toEqual([]);
  });

  test('tells when a model leaves: the idle time after its last use', async () => {
    const [idle, busy] = await ps([memory('org/big:8b'), memory('far', { busy: true })]);
    expect(idle.expires_at).toBe('2023-11-14T22:14:20.000Z');
    expect(Date.parse(busy.expires_at)).toBeGreaterThan(Date.now());
  });

  test.each<[string, ModelMemory, number]>([
    ['the default model', memory('demo'), 60_000],
    ['a pinned model', memory('far', { pinned: true }), 60_000],
    ['any model where the idle time is off', memory('far'), 0],
  ])('%s never leaves', async (_name, model_, idleMs) => {
    expect((await ps([model_], idleMs))[0].expires_at).toBe(NEVER);
  });

  test('is empty where no model is managed', async () => {
    expect((await get('/api/ps').expect(200)).body).toEqual({ models: [] });
  });
});

test.each(['pull', 'push', 'create', 'copy', 'delete', 'blobs/sha256:0'])(
  '/api/%s is 501, with any method and body',
  async (name) => {
    const app = testApp();
    for (const method of ['post', 'delete', 'get'] as const) {
      const reply = await supertest(app)[method](`/api/${name}`).set('X-API-Key', KEY).send('{');
      expect([reply.status, reply.body]).toEqual([501, { error: expect.stringContaining('files') }]);
    }
  },
);
