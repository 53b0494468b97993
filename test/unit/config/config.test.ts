import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ConfigError, keysFilePath, loadConfig, slotsOf, modelId } from '../../../src/config/config.js';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lmserv-config-'));
});

afterEach(() => rmSync(folder, { recursive: true }));

const load = (env: Record<string, string | undefined> = {}, overrides = {}) =>
  loadConfig(overrides, { env, folder });

describe('where it listens', () => {
  test('with the default key on this machine only, and it says why', () => {
    const config = load();
    expect(config).toMatchObject({ host: '127.0.0.1', port: 8000, apiKey: 'changeme', open: false });
    expect(config.notes.join()).toContain('API_KEY is the default one');
  });

  test('with the default key no other address is taken', () => {
    expect(() => load({ HOST: '0.0.0.0' })).toThrow(/^HOST: .*default API_KEY/);
    expect(load({ HOST: 'localhost' }).host).toBe('localhost');
  });

  test('with a key of its own everywhere', () => {
    expect(load({ API_KEY: 'k' })).toMatchObject({ host: '0.0.0.0', apiKey: 'k' });
  });

  test('without a key HOST must be set, and nobody is asked for one', () => {
    expect(() => load({ API_KEY: '' })).toThrow(/^HOST: must be set/);
    expect(load({ API_KEY: '', HOST: '10.0.0.1' })).toMatchObject({
      open: true,
      host: '10.0.0.1',
      apiKey: '',
    });
  });

  test('with a key file the default key is none', () => {
    expect(load({ API_KEYS_FILE: 'keys.json' })).toMatchObject({ apiKey: '', open: false, host: '0.0.0.0' });
    expect(load({ API_KEYS_FILE: 'keys.json', API_KEY: 'changeme' }).apiKey).toBe('');
    expect(load({ API_KEYS_FILE: 'keys.json', API_KEY: 'mine' }).apiKey).toBe('mine');
  });

  test('LLM_CONNECT_ gives defaults', () => {
    expect(load({ LLM_CONNECT_HOST: '127.0.0.1', LLM_CONNECT_PORT: '9' })).toMatchObject({
      host: '127.0.0.1',
      port: 9,
    });
    expect(load({ LLM_CONNECT_PORT: '9', PORT: '8' }).port).toBe(8);
  });
});

test('the command line goes before the environment, which goes before .env', () => {
  writeFileSync(join(folder, '.env'), 'PORT=1\nQUEUE_LIMIT=1\nMAX_TOKENS=1\n');
  const config = load({ PORT: '2', QUEUE_LIMIT: '2' }, { PORT: '3', MAX_BODY_BYTES: undefined });
  expect(config).toMatchObject({ port: 3, queueLimit: 2, maxTokens: 1, maxBodyBytes: 1_048_576 });
});

test.each([
  ['PORT', 'abc', 'must be a number'],
  ['API_KEY', 'schlüssel', 'printable ASCII'],
  ['API_KEY', 'two words', 'printable ASCII'],
  ['API_KEY', ' k', 'printable ASCII'],
  ['PORT', '70000', 'must be at most 65535'],
  ['PORT', '1.5', 'must be a whole number'],
  ['LLM_WORKERS', '0', 'must be at least 1'],
  ['QUEUE_TIMEOUT_SECS', '0', 'must be more than 0'],
  ['QUEUE_TIMEOUT_SECS', 'Infinity', 'must be a number'],
  ['RATE_LIMIT_QPS', '0.0000001', 'must be 0 for no limit, or 0.00001 to 1000000'],
  ['RATE_LIMIT_QPS', '1000001', 'to 1000000 requests per second'],
  ['RATE_LIMIT_QPS', '-1', 'must be 0 for no limit, or'],
  ['RATE_LIMIT_QPS', '1e308', 'must be a number'],
  ['KEYLESS_NETWORKS', '10.0.0.0/8,lan', 'lan is no network'],
  ['KEYLESS_NETWORKS', '10.0.0.0/33', 'is no network'],
  ['TRUST_PROXY', 'yes', 'a number of proxies'],
  ['CORS_ORIGINS', 'https://a.example,foo', 'must be \\* or origins'],
  ['LLM_EXTRA_ARGS', '--x "y', 'not closed'],
  ['HEALTH_FORMAT', 'xml', ''],
  ['LOG_LEVEL', 'loud', ''],
  ['LLM_MODEL_PATH', 'nowhere.gguf', 'npm run model'],
  ['LMSERV_CONFIG', 'nowhere.json', 'there is no file'],
])('%s=%s is refused in a line that names it', (name, value, message) => {
  const error = (() => {
    try {
      return load({ [name]: value });
    } catch (thrown) {
      return thrown as Error;
    }
  })();
  expect(error).toBeInstanceOf(ConfigError);
  expect((error as Error).message).toMatch(new RegExp(`^${name}: [^\\n]*${message}`));
});

test.each(['0', '0.00001', '0.5', '1.9', '1000000'])('RATE_LIMIT_QPS=%s is taken as it is', (qps) => {
  expect(load({ RATE_LIMIT_QPS: qps }).rateLimitQps).toBe(Number(qps));
});

test('times become milliseconds, an empty value counts as not set', () => {
  expect(load({ QUEUE_TIMEOUT_SECS: '1.5', TOKEN_TIMEOUT_SECS: '' })).toMatchObject({
    queueTimeoutMs: 1_500,
    tokenTimeoutMs: 15_000,
  });
});

test('the LLM_ variables make one model, named by its file', () => {
  writeFileSync(join(folder, 'my.model.gguf'), '');
  const { file } = load({
    LLM_MODEL_PATH: 'my.model.gguf',
    LLM_SLOTS: '3',
    LLM_EXTRA_ARGS: `-fa on --x "a b" 'c d'`,
  });
  expect(file.models).toEqual({
    'my.model': expect.objectContaining({
      path: join(folder, 'my.model.gguf'),
      slots: 3,
      extraArgs: ['-fa', 'on', '--x', 'a b', 'c d'],
    }),
  });
});

describe('slots by default', () => {
  const cpu = { gpus: [], threads: 4 };

  test.each([
    ['two on a CPU', cpu, undefined, 2],
    ['one where a worker has one thread', { ...cpu, threads: 1 }, undefined, 1],
    ['four with layers on a GPU', { ...cpu, gpuLayers: 20 }, undefined, 4],
    ['four with a GPU named', { ...cpu, gpus: ['0'] }, undefined, 4],
    ['four with a build for GPUs', cpu, '/x/vendor/llama.cpp/build-cuda/bin/llama-cli', 4],
    [
      'two with that build and no layer on the GPU',
      { ...cpu, gpuLayers: 0 },
      '/x/build-cuda/bin/llama-cli',
      2,
    ],
    ['what was asked for', { ...cpu, slots: 7 }, undefined, 7],
  ])('%s', (_name, model, binPath, slots) => {
    expect(slotsOf(model, 1, binPath)).toBe(slots);
  });

  test('LLM_SLOTS=auto is the default', () => {
    writeFileSync(join(folder, 'm.gguf'), '');
    for (const env of [{}, { LLM_SLOTS: 'auto' }]) {
      expect(load({ LLM_MODEL_PATH: 'm.gguf', ...env }).file.models.m!.slots).toBeUndefined();
    }
    expect(() => load({ LLM_SLOTS: '0' })).toThrow('LLM_SLOTS: must be at least 1');
  });
});

test('a configuration file takes the place of them', () => {
  writeFileSync(join(folder, 'a.gguf'), '');
  writeFileSync(join(folder, 'lmserv.config.json'), JSON.stringify({ models: { one: { path: 'a.gguf' } } }));
  const config = load({ LLM_SLOTS: '3' });
  expect(Object.keys(config.file.models)).toEqual(['one']);
  expect(config.file.models.one!.slots).toBeUndefined();
  expect(config.file.models.one!.path).toBe(join(folder, 'a.gguf'));
});

test('KEYLESS_NETWORKS takes networks and addresses of both families', () => {
  const { keyless } = load({ KEYLESS_NETWORKS: '192.168.1.0/24, 10.0.0.7,fd00::/8' });
  expect(['192.168.1.9', '10.0.0.7', '10.0.0.8'].map((address) => keyless.check(address))).toEqual([
    true,
    true,
    false,
  ]);
  expect(keyless.check('fd00::1', 'ipv6')).toBe(true);
});

test('the mock needs no model', () => {
  expect(load({ LLM_CONNECT_PROVIDER: 'mock' }).file.models).toEqual({});
});

test.each([
  ['/x/y/gemma-2b.gguf', 'gemma-2b'],
  ['/x/y/Gemma.GGUF', 'Gemma'],
  ['hf:org/repo-GGUF:Q4_K_M', 'repo-GGUF'],
])('%s is known as %s', (path, id) => {
  expect(modelId(path)).toBe(id);
});

test.each([
  ['off', false],
  ['on', true],
  ['2', 2],
  ['10.0.0.1', '10.0.0.1'],
])('TRUST_PROXY=%s', (value, expected) => {
  expect(load({ TRUST_PROXY: value }).trustProxy).toBe(expected);
});

test('the result cannot be changed', () => {
  const config = load();
  expect(Object.isFrozen(config)).toBe(true);
  expect(Object.isFrozen(config.file.models)).toBe(true);
});

test('the keys commands need API_KEYS_FILE', () => {
  expect(() => keysFilePath({}, folder)).toThrow(/^API_KEYS_FILE: is not set/);
  expect(keysFilePath({ API_KEYS_FILE: 'k.json' }, folder)).toBe(join(folder, 'k.json'));
});
