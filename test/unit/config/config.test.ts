import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError, keysFilePath, loadConfig, modelId } from '../../../src/config/load.js';
import { ROOT } from '../../../src/config/root.js';
import { SECTIONS, type Row } from '../../../src/config/variables.js';
import { thrownBy } from '../../support/errors.js';
import { emptyFolder } from '../../support/folder.js';

const folder = emptyFolder();
const write = (name: string, text: string) => writeFileSync(join(folder, name), text);

const load = (env: Record<string, string | undefined> = {}, overrides = {}) =>
  loadConfig(overrides, { env, folder });

describe('the server listens', () => {
  test('on this machine only with the default key, and says why', () => {
    const config = load();
    expect(config).toMatchObject({ host: '127.0.0.1', port: 8000, apiKey: 'changeme', open: false });
    expect(config.notes.join()).toContain('API_KEY is the default');
  });

  test('on no other address with the default key', () => {
    expect(() => load({ HOST: '0.0.0.0' })).toThrow(/^HOST: .*default API_KEY/);
    expect(load({ HOST: 'localhost' }).host).toBe('localhost');
  });

  test('everywhere with its own key', () => {
    expect(load({ API_KEY: 'k' })).toMatchObject({ host: '0.0.0.0', apiKey: 'k' });
  });

  test('without a key only if HOST is set', () => {
    expect(() => load({ API_KEY: '' })).toThrow(/^HOST: must be set/);
    const open = { open: true, host: '10.0.0.1', apiKey: '' };
    expect(load({ API_KEY: '', HOST: '10.0.0.1' })).toMatchObject(open);
  });

  test('with a key file and without the default key', () => {
    expect(load({ API_KEYS_FILE: 'keys.json' })).toMatchObject({ apiKey: '', open: false, host: '0.0.0.0' });
    expect(load({ API_KEYS_FILE: 'keys.json', API_KEY: 'changeme' }).apiKey).toBe('');
    expect(load({ API_KEYS_FILE: 'keys.json', API_KEY: 'mine' }).apiKey).toBe('mine');
  });

  test('where LLM_CONNECT_ says by default', () => {
    const { host, port } = load({ LLM_CONNECT_HOST: '127.0.0.1', LLM_CONNECT_PORT: '9' });
    expect([host, port]).toEqual(['127.0.0.1', 9]);
    expect(load({ LLM_CONNECT_PORT: '9', PORT: '8' }).port).toBe(8);
  });
});

test('every variable is used somewhere', () => {
  const table = ['variables.ts', 'documents.ts'].map((name) => join('config', name));
  const files = ['src', 'workers'].flatMap((top) =>
    readdirSync(join(ROOT, top), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts') && !table.includes(name))
      .map((name) => readFileSync(join(ROOT, top, name), 'utf8')),
  );
  const rows: Record<string, Row> = Object.assign({}, ...Object.values(SECTIONS));
  const unused = Object.entries(rows).filter(([, { key }]) => {
    const use = new RegExp(`\\b${key.split('.').at(-1)}\\b`);
    return !files.some((text) => use.test(text));
  });
  expect(unused).toEqual([]);
});

test('the command line takes precedence over the environment, and that over .env', () => {
  write('.env', 'PORT=1\nQUEUE_LIMIT=1\nMAX_TOKENS=1\n');
  const config = load({ PORT: '2', QUEUE_LIMIT: '2' }, { PORT: '3', MAX_BODY_BYTES: undefined });
  expect(config).toMatchObject({ port: 3, queueLimit: 2, maxTokens: 1, maxBodyBytes: 1_048_576 });
});

test.each([
  ['PORT', 'abc', 'must be a whole number from 0 to 65535'],
  ['API_KEY', 'schlüssel', 'printable ASCII'],
  ['API_KEY', 'two words', 'printable ASCII'],
  ['API_KEY', ' \n', 'printable ASCII'],
  ['PORT', '70000', 'must be a whole number from 0 to 65535'],
  ['PORT', '1.5', 'must be a whole number from 0 to 65535'],
  ['LLM_WORKERS', '0', 'must be a whole number from 1 to 256'],
  ['LLM_GPUS', '0;1', 'the id of a GPU'],
  ['QUEUE_TIMEOUT_SECS', '0', 'must be a number of seconds, more than 0'],
  ['QUEUE_TIMEOUT_SECS', 'Infinity', 'must be a number of seconds'],
  ['WORKER_MAX_AGE_SECS', '0', 'must be a number of seconds from 1'],
  ['SHUTDOWN_GRACE_SECS', '-1', 'must be a number of seconds from 0'],
  ['RATE_LIMIT_QPS', '0.0000001', 'must be 0 for no limit, or 0.00001 to 1000000'],
  ['RATE_LIMIT_QPS', '1000001', 'to 1000000 requests per second'],
  ['RATE_LIMIT_QPS', '-1', 'must be 0 for no limit, or'],
  ['RATE_LIMIT_QPS', '1e308', 'must be 0 for no limit, or'],
  ['KEYLESS_NETWORKS', '10.0.0.0/8,lan', '"lan" is not a valid network .expected e.g. 192.168.1.0/24.'],
  ['KEYLESS_NETWORKS', '10.0.0.0/33', 'is not a valid network'],
  ['TRUST_PROXY', 'yes', 'a number of proxies'],
  ['CORS_ORIGINS', 'https://a.example,foo', 'must be \\* or origins'],
  ['LLM_EXTRA_ARGS', '--x "y', 'unclosed quote'],
  ['HEALTH_FORMAT', 'xml', 'must be one of: text, json'],
  ['LOG_LEVEL', 'loud', 'must be one of: trace, debug'],
  ['LLM_MODEL_PATH', 'nowhere.gguf', 'npm run model'],
  ['LMSERV_CONFIG', 'nowhere.json', 'there is no file'],
])('%s=%s is refused in a line that names it', (name, value, message) => {
  const error = thrownBy(() => load({ [name]: value }));
  expect(error).toBeInstanceOf(ConfigError);
  expect((error as Error).message).toMatch(new RegExp(`^${name}: [^\\n]*${message}`));
});

test('all problems are reported at once, each in a line that names its variable', () => {
  write('lmserv.config.json', '{"models":{"a":{"path":"none.gguf","worker":1},"b":{}}}');
  const env = {
    PORT: 'x',
    LLM_THREADS: '0',
    HOST: '0.0.0.0',
    LLM_CONNECT_PROFILES_JSON: '{',
    LLM_SLOTS: 'auto',
  };
  const error = thrownBy(() => load(env)) as ConfigError;
  expect(error).toBeInstanceOf(ConfigError);
  const expected = [
    ['PORT', 'must be a whole number from 0 to 65535'],
    ['LLM_THREADS', 'must be a whole number from 1 to 4096'],
    ['LLM_CONNECT_PROFILES_JSON', 'is not valid JSON'],
    ['HOST', 'only 127.0.0.1 is possible with the default API_KEY; set your own key'],
    ['lmserv.config.json', 'models.a.worker: unknown field'],
    ['lmserv.config.json', 'models.b.path: is required'],
  ] as const;
  const problems = expected.map(([variable, message]) => ({ variable, message }));
  const lines = expected.map((problem) => problem.join(': '));
  expect([error.problems, error.message]).toEqual([problems, lines.join('\n')]);
});

test('an invalid API_KEY does not count as the default key', () => {
  expect(() => load({ API_KEY: 'two words', HOST: '0.0.0.0' })).toThrow(/^API_KEY: [^\n]*$/);
});

test('--disable-profiles ignores the variables of profiles', () => {
  const env = { LLM_CONNECT_PROFILES_JSON: '{', LLM_CONNECT_PROFILE_FILE: 'none' };
  expect(loadConfig({}, { env, folder, disableProfiles: true }).profiles.names).toEqual([]);
});

test.each(['0', '0.00001', '0.5', '1.9', '1000000'])('RATE_LIMIT_QPS=%s is accepted unchanged', (qps) => {
  expect(load({ RATE_LIMIT_QPS: qps }).rateLimitQps).toBe(Number(qps));
});

test('times are converted to milliseconds, and an empty value means the default', () => {
  const env = { QUEUE_TIMEOUT_SECS: '1.5', TOKEN_TIMEOUT_SECS: '', WORKER_MAX_AGE_SECS: '2' };
  expect(load(env)).toMatchObject({
    queueTimeoutMs: 1_500,
    timeouts: { startMs: 120_000, tokenMs: 15_000 },
    recycling: { ageMs: 2_000, requests: undefined },
    shutdownGraceMs: 30_000,
  });
  expect(load({ WORKER_MAX_MEMORY_MB: '2' }).recycling.memoryBytes).toBe(2 * 2 ** 20);
});

test('the LLM_ variables define one model, named after its file', () => {
  write('my.model.gguf', '');
  const extraArgs = `-fa on --x "a b" 'c d'`;
  const { file } = load({ LLM_MODEL_PATH: 'my.model.gguf', LLM_SLOTS: '3', LLM_EXTRA_ARGS: extraArgs });
  const model = { path: join(folder, 'my.model.gguf'), slots: 3 };
  expect(file.models).toEqual({
    'my.model': expect.objectContaining({ ...model, extraArgs: ['-fa', 'on', '--x', 'a b', 'c d'] }),
  });
});

test('LLM_SLOTS=auto is the default', () => {
  write('m.gguf', '');
  for (const env of [{}, { LLM_SLOTS: 'auto' }]) {
    expect(load({ LLM_MODEL_PATH: 'm.gguf', ...env }).file.models.m!.slots).toBeUndefined();
  }
  expect(() => load({ LLM_SLOTS: '0' })).toThrow('LLM_SLOTS: must be a whole number from 1 to 256');
});

test('a configuration file replaces the LLM_ variables', () => {
  write('a.gguf', '');
  write('lmserv.config.json', JSON.stringify({ models: { one: { path: 'a.gguf' } } }));
  const { models } = load({ LLM_SLOTS: '3' }).file;
  expect(Object.keys(models)).toEqual(['one']);
  expect(models.one!.slots).toBeUndefined();
  expect(models.one!.path).toBe(join(folder, 'a.gguf'));
});

test('KEYLESS_NETWORKS accepts networks and addresses of both families', () => {
  const { keyless } = load({ KEYLESS_NETWORKS: '192.168.1.0/24, 10.0.0.7,fd00::/8' });
  const addresses = ['192.168.1.9', '10.0.0.7', '10.0.0.8'];
  expect(addresses.filter((address) => keyless.check(address))).toEqual(addresses.slice(0, 2));
  expect(keyless.check('fd00::1', 'ipv6')).toBe(true);
});

test('the mock needs no model', () => expect(load({ LLM_CONNECT_PROVIDER: 'mock' }).file.models).toEqual({}));

test.each([
  ['/x/y/gemma-2b.gguf', 'gemma-2b'],
  ['/x/y/Gemma.GGUF', 'Gemma'],
  ['hf:org/repo-GGUF:Q4_K_M', 'repo-GGUF'],
])('the model %s is named %s', (path, id) => expect(modelId(path)).toBe(id));

test.each([
  ['off', false],
  ['on', true],
  ['2', 2],
  ['10.0.0.1', '10.0.0.1'],
])('TRUST_PROXY=%s is parsed as %s', (value, expected) => {
  expect(load({ TRUST_PROXY: value }).trustProxy).toBe(expected);
});

test('the configuration is frozen', () => {
  const config = load();
  expect(Object.isFrozen(config)).toBe(true);
  expect(Object.isFrozen(config.file.models)).toBe(true);
});

test('the keys commands need API_KEYS_FILE', () => {
  expect(() => keysFilePath({}, folder)).toThrow(/^API_KEYS_FILE: is not set/);
  expect(keysFilePath({ API_KEYS_FILE: 'k.json' }, folder)).toBe(join(folder, 'k.json'));
});
