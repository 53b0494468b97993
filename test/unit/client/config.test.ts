import { InvalidOptionError, createClient, generate, stream } from '../../../src/client/index.js';
import { optionsFromEnv, fallbackTarget, firstTarget, resolveTarget } from '../../../src/client/target.js';
import {
  FakeServer,
  collect,
  completion,
  delta,
  done,
  failure,
  json,
  sse,
  stopServers,
} from './fake-server.js';

afterEach(stopServers);

const KEY = 'canary-key-7';

describe('targets', () => {
  test('the default is an LMServ of this machine', () => {
    expect(resolveTarget({})).toEqual({
      provider: 'lan',
      url: 'http://localhost:8000/v1/chat/completions',
      origin: 'http://localhost:8000',
      apiKey: undefined,
      model: 'default',
    });
  });

  test('openai and local have addresses of their own', () => {
    expect(resolveTarget({ provider: 'openai' })).toMatchObject({
      url: 'https://api.openai.com/v1/chat/completions',
      model: 'gpt-4o-mini',
    });
    expect(resolveTarget({ provider: 'local' }).url).toBe('http://localhost:8000/llm');
    expect(resolveTarget({ provider: 'local', baseUrl: 'http://box:9/v1' }).url).toBe('http://box:9/llm');
  });

  test('a call keeps the key on the configured origin and drops it on another', () => {
    const client = { baseUrl: 'http://box:8000', apiKey: KEY };
    expect(firstTarget(client, {}).apiKey).toBe(KEY);
    expect(firstTarget(client, { baseUrl: 'http://box:8000/v1' }).apiKey).toBe(KEY);
    expect(firstTarget(client, { baseUrl: 'http://other:8000' }).apiKey).toBeUndefined();
    expect(firstTarget(client, { baseUrl: 'http://other:8000', apiKey: 'own' }).apiKey).toBe('own');
  });

  test('a call may take another provider, and its base address outweighs LLM_URL', () => {
    const client = { baseUrl: 'http://box:8000', url: 'http://raw:1/llm' };
    expect(firstTarget(client, { provider: 'local' }).url).toBe('http://raw:1/llm');
    expect(firstTarget(client, { provider: 'local', baseUrl: 'http://b:2' }).url).toBe('http://b:2/llm');
  });

  test('a key is for one server: openai behind lan gets none, nor lan behind openai', () => {
    const lan = { baseUrl: 'http://box:8000', apiKey: KEY, fallback: 'openai' } as const;
    expect(fallbackTarget(lan, {}, firstTarget(lan, {}))).toMatchObject({
      origin: 'https://api.openai.com',
      apiKey: undefined,
    });
    const openai = { provider: 'openai', apiKey: KEY, fallback: 'lan' } as const;
    expect(fallbackTarget(openai, {}, firstTarget(openai, {}))).toMatchObject({
      origin: 'http://localhost:8000',
      apiKey: undefined,
    });
  });

  test('openai itself gets max_completion_tokens, which its newer models want', async () => {
    const { fetch } = globalThis;
    const sent: { url: unknown; body: unknown }[] = [];
    globalThis.fetch = async (url, init) => {
      sent.push({ url, body: JSON.parse(init?.body as string) });
      return Response.json({ choices: [{ message: { content: 'ok' }, finish_reason: 'stop' }] });
    };
    try {
      await createClient({ provider: 'openai', fallback: 'none' }).generate('hi', { maxTokens: 4 });
    } finally {
      globalThis.fetch = fetch;
    }
    expect(sent).toEqual([
      {
        url: 'https://api.openai.com/v1/chat/completions',
        body: expect.objectContaining({ model: 'gpt-4o-mini', max_completion_tokens: 4 }),
      },
    ]);
    expect(sent[0]!.body).not.toHaveProperty('max_tokens');
  });
});

describe('options that cannot be used', () => {
  test.each([
    ['provider', { provider: 'cloud' as 'lan' }],
    ['provider', { fallback: 'cloud' as 'lan' }],
    ['baseUrl', { baseUrl: 'localhost:8000' }],
    ['baseUrl', { baseUrl: 'ftp://box' }],
    ['baseUrl', { baseUrl: 'not an address' }],
    ['baseUrl', { baseUrl: `http://user:${KEY}@box:8000` }],
    ['baseUrl', { baseUrl: `http://box:8000/?key=${KEY}` }],
    ['url', { provider: 'local' as const, url: '/llm' }],
    ['apiKey', { apiKey: `${KEY}\nx: y` }],
    ['apiKey', { apiKey: `${KEY} ü` }],
    ['timeoutSecs', { timeoutSecs: 0 }],
    ['timeoutSecs', { timeoutSecs: NaN }],
    ['timeoutSecs', { timeoutSecs: 1e9 }],
    ['baseUrl', { fallback: { baseUrl: 'nowhere' } }],
  ])('%s: %j', (name, options) => {
    let thrown: unknown;
    try {
      createClient(options);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(InvalidOptionError);
    expect(thrown).toMatchObject({ code: 'invalid_option', message: expect.stringContaining(name) });
    expect(String(thrown)).not.toContain(KEY);
  });

  test.each([
    ['temperature', 'hi', { temperature: NaN }],
    ['maxTokens', 'hi', { maxTokens: 0 }],
    ['maxTokens', 'hi', { maxTokens: 1.5 }],
    ['provider', 'hi', { provider: 'cloud' as 'lan' }],
    ['prompt', undefined as unknown as string, {}],
  ])('%s of a call', async (name, prompt, options) => {
    const error = await failure(createClient({ provider: 'stub' }).generate(prompt, options));
    expect(error).toBeInstanceOf(InvalidOptionError);
    expect(String(error)).toContain(name);
  });
});

describe('the environment', () => {
  test('nothing set', () => {
    expect(Object.values(optionsFromEnv({})).filter((value) => value !== undefined)).toEqual([]);
  });

  test('everything set', () => {
    const env = {
      LLM_PROVIDER: 'local',
      LLM_BASE_URL: 'http://box:8000',
      LLM_URL: 'http://box:8000/llm',
      LLM_API_KEY: KEY,
      LLM_MODEL: 'fast',
      LLM_TIMEOUT_SECS: '1.5',
      LLM_PROVIDER_FALLBACK: 'lan',
    };
    expect(optionsFromEnv(env)).toEqual({
      provider: 'local',
      baseUrl: 'http://box:8000',
      url: 'http://box:8000/llm',
      apiKey: KEY,
      model: 'fast',
      timeoutSecs: 1.5,
      fallback: 'lan',
    });
  });

  test('a blank fallback is none, an unset one the default', () => {
    expect(optionsFromEnv({ LLM_PROVIDER_FALLBACK: ' ' }).fallback).toBe('none');
    expect(optionsFromEnv({}).fallback).toBeUndefined();
  });

  test('openai as the fallback has the key OPENAI_API_KEY', () => {
    const env = { LLM_API_KEY: KEY, OPENAI_API_KEY: 'sk-other', LLM_PROVIDER_FALLBACK: 'openai' };
    expect(optionsFromEnv(env).fallback).toEqual({ provider: 'openai', apiKey: 'sk-other' });
  });

  test('a time-out that is no number names its variable', () => {
    expect(() => optionsFromEnv({ LLM_TIMEOUT_SECS: 'soon' })).toThrow(/^LLM_TIMEOUT_SECS /);
  });

  describe('of the process', () => {
    const saved = { ...process.env };
    afterEach(() => {
      for (const name of Object.keys(process.env)) if (name.startsWith('LLM_')) delete process.env[name];
      Object.assign(process.env, saved);
    });

    test('is read at each call', async () => {
      const lan = await FakeServer.start((response, received) =>
        received.body['stream']
          ? sse(delta('streamed'), done)(response, received)
          : completion('whole')(response, received),
      );
      const local = await FakeServer.start(json(200, { completion: 'raw' }));
      process.env['LLM_BASE_URL'] = lan.url;
      process.env['LLM_API_KEY'] = KEY;
      process.env['LLM_PROVIDER_FALLBACK'] = 'none';
      expect(await generate('hi')).toBe('whole');
      expect(await collect(stream('hi'))).toEqual(['streamed']);
      expect(lan.received[0]!.headers.authorization).toBe(`Bearer ${KEY}`);
      process.env['LLM_URL'] = `${local.url}/llm`;
      expect(await generate('hi', { provider: 'local' })).toBe('raw');
      process.env['LLM_PROVIDER'] = 'nobody';
      expect(await failure(generate('hi'))).toBeInstanceOf(InvalidOptionError);
    });
  });
});
