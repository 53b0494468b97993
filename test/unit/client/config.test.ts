import { InvalidOptionError, createClient, generate, stream } from '../../../src/client/index.js';
import { optionsFromEnv, fallbackTarget, firstTarget, resolveTarget } from '../../../src/client/target.js';
import { completion, delta, done, fakeServer, json, sse } from '../../support/fake-server.js';
import { collect, failure, KEY } from './helpers.js';

describe('the target', () => {
  test('is by default an LMServ on this machine', () => {
    expect(resolveTarget({})).toEqual({
      provider: 'lan',
      url: 'http://localhost:8000/v1/chat/completions',
      origin: 'http://localhost:8000',
      apiKey: undefined,
      model: 'default',
    });
  });

  test('depends on the provider', () => {
    const url = 'https://api.openai.com/v1/chat/completions';
    expect(resolveTarget({ provider: 'openai' })).toMatchObject({ url, model: 'gpt-4o-mini' });
    expect(resolveTarget({ provider: 'local' }).url).toBe('http://localhost:8000/llm');
    expect(resolveTarget({ provider: 'local', baseUrl: 'http://box:9/v1' }).url).toBe('http://box:9/llm');
  });

  test('of a call keeps the key on the configured origin and drops it on another', () => {
    const client = { baseUrl: 'http://box:8000', apiKey: KEY };
    expect(firstTarget(client, {}).apiKey).toBe(KEY);
    expect(firstTarget(client, { baseUrl: 'http://box:8000/v1' }).apiKey).toBe(KEY);
    expect(firstTarget(client, { baseUrl: 'http://other:8000' }).apiKey).toBeUndefined();
    expect(firstTarget(client, { baseUrl: 'http://other:8000', apiKey: 'own' }).apiKey).toBe('own');
  });

  test('of a call may have another provider, and its base address takes precedence over LLM_URL', () => {
    const client = { baseUrl: 'http://box:8000', url: 'http://raw:1/llm' };
    expect(firstTarget(client, { provider: 'local' }).url).toBe('http://raw:1/llm');
    expect(firstTarget(client, { provider: 'local', baseUrl: 'http://b:2' }).url).toBe('http://b:2/llm');
  });

  test.each([
    [{ baseUrl: 'http://box:8000', apiKey: KEY, fallback: 'openai' }, 'https://api.openai.com'],
    [{ provider: 'openai', apiKey: KEY, fallback: 'lan' }, 'http://localhost:8000'],
  ] as const)('of a fallback to another server does not get the key: %j', (options, origin) => {
    const target = fallbackTarget(options, {}, firstTarget(options, {}));
    expect(target).toMatchObject({ origin, apiKey: undefined });
  });

  test('openai itself gets max_completion_tokens, which its newer models require', async () => {
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
    const body = expect.objectContaining({ model: 'gpt-4o-mini', max_completion_tokens: 4 });
    expect(sent).toEqual([{ url: 'https://api.openai.com/v1/chat/completions', body }]);
    expect(sent[0]!.body).not.toHaveProperty('max_tokens');
  });
});

describe('an invalid option', () => {
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
  ])('%s of the client is named, without the key: %j', async (name, options) => {
    const thrown = await failure((async () => createClient(options))());
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
  ])('%s of a call is named', async (name, prompt, options) => {
    const error = await failure(createClient({ provider: 'stub' }).generate(prompt, options));
    expect(error).toBeInstanceOf(InvalidOptionError);
    expect(String(error)).toContain(name);
  });
});

describe('the environment', () => {
  test.each([
    ['nothing', {}, {}],
    [
      'every option',
      {
        LLM_PROVIDER: 'local',
        LLM_BASE_URL: 'http://box:8000',
        LLM_URL: 'http://box:8000/llm',
        LLM_API_KEY: KEY,
        LLM_MODEL: 'fast',
        LLM_TIMEOUT_SECS: '1.5',
        LLM_PROVIDER_FALLBACK: 'lan',
      },
      {
        provider: 'local',
        baseUrl: 'http://box:8000',
        url: 'http://box:8000/llm',
        apiKey: KEY,
        model: 'fast',
        timeoutSecs: 1.5,
        fallback: 'lan',
      },
    ],
    ['no fallback by a blank one', { LLM_PROVIDER_FALLBACK: ' ' }, { fallback: 'none' }],
    [
      'the key of openai as the fallback by OPENAI_API_KEY',
      { LLM_API_KEY: KEY, OPENAI_API_KEY: 'sk-other', LLM_PROVIDER_FALLBACK: 'openai' },
      { apiKey: KEY, fallback: { provider: 'openai', apiKey: 'sk-other' } },
    ],
  ])('sets %s', (_, env, options) => expect(optionsFromEnv(env)).toEqual(options));

  test('names the variable of a timeout that is not a number', () => {
    expect(() => optionsFromEnv({ LLM_TIMEOUT_SECS: 'soon' })).toThrow(/^LLM_TIMEOUT_SECS /);
  });

  describe('of the process', () => {
    const saved = { ...process.env };
    afterEach(() => {
      for (const name of Object.keys(process.env)) if (name.startsWith('LLM_')) delete process.env[name];
      Object.assign(process.env, saved);
    });

    test('is read at each call', async () => {
      const lan = await fakeServer((response, received) =>
        (received.body['stream'] ? sse(delta('streamed'), done) : completion('whole'))(response, received),
      );
      const local = await fakeServer(json(200, { completion: 'raw' }));
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
