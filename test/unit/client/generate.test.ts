import { createClient, ServerError } from '../../../src/client/index.js';
import { STUB_ANSWER } from '../../../src/client/providers.js';
import { FakeServer, completion, collect, failure, json, stopServers } from './fake-server.js';

afterEach(stopServers);

describe('generate with lan', () => {
  test('posts a chat completion with defaults left to the server', async () => {
    const server = await FakeServer.start(completion('Ceviche'));
    const client = createClient({ baseUrl: server.url, fallback: 'none' });
    expect(await client.generate('Name a dish')).toBe('Ceviche');
    expect(server.received).toHaveLength(1);
    expect(server.received[0]).toMatchObject({
      path: '/v1/chat/completions',
      body: { model: 'default', messages: [{ role: 'user', content: 'Name a dish' }], stream: false },
    });
    expect(Object.keys(server.received[0]!.body).sort()).toEqual(['messages', 'model', 'stream']);
    expect(server.received[0]!.headers).not.toHaveProperty('authorization');
  });

  test('sends system, model, temperature, max_tokens and the key', async () => {
    const server = await FakeServer.start(completion('ok'));
    const client = createClient({ baseUrl: server.url, apiKey: ' k-123 ', fallback: 'none' });
    await client.generate('hi', { system: 'Be brief', model: 'fast', temperature: 0, maxTokens: 5 });
    expect(server.received[0]!.headers.authorization).toBe('Bearer k-123');
    expect(server.received[0]!.body).toEqual({
      model: 'fast',
      messages: [
        { role: 'system', content: 'Be brief' },
        { role: 'user', content: 'hi' },
      ],
      temperature: 0,
      max_tokens: 5,
      stream: false,
    });
  });

  test.each(['', '/', '/v1', '/v1/', '//'])('takes a base address that ends with "%s"', async (end) => {
    const server = await FakeServer.start(completion('ok'));
    await createClient({ baseUrl: `${server.url}${end}`, fallback: 'none' }).generate('hi');
    expect(server.received[0]!.path).toBe('/v1/chat/completions');
  });

  test('keeps a path before /v1', async () => {
    const server = await FakeServer.start(completion('ok'));
    await createClient({ baseUrl: `${server.url}/llm-box/v1`, fallback: 'none' }).generate('hi');
    expect(server.received[0]!.path).toBe('/llm-box/v1/chat/completions');
  });

  test('a blank key sends none', async () => {
    const server = await FakeServer.start(completion('ok'));
    await createClient({ baseUrl: server.url, apiKey: '  ', fallback: 'none' }).generate('hi');
    expect(server.received[0]!.headers).not.toHaveProperty('authorization');
  });

  test('an empty answer is returned, and a warning says why when it was cut at max_tokens', async () => {
    const warnings: string[] = [];
    const server = await FakeServer.start(completion(null, 'length'));
    const client = createClient({ baseUrl: server.url, warn: (message) => warnings.push(message) });
    expect(await client.generate('hi')).toBe('');
    expect(warnings).toEqual(['the answer is empty, finish_reason length: raise maxTokens']);
  });

  test('an empty answer that ended by itself is no reason to warn', async () => {
    const warnings: string[] = [];
    const server = await FakeServer.start(completion(''));
    const client = createClient({ baseUrl: server.url, warn: (message) => warnings.push(message) });
    expect(await client.generate('hi')).toBe('');
    expect(warnings).toEqual([]);
  });

  test.each(['{}', 'null', '[]', '{"choices":[]}', '{"choices":[{}]}', '<html>'])(
    'an answer of another form is invalid_response: %s',
    async (body) => {
      const server = await FakeServer.start(json(200, body));
      const client = createClient({ baseUrl: server.url, fallback: 'none' });
      const error = await failure(client.generate('hi'));
      expect(error).toBeInstanceOf(ServerError);
      expect(error).toMatchObject({ code: 'invalid_response', status: 200, requestId: 'req-1' });
    },
  );
});

describe('generate with openai', () => {
  test('names a model of its own and asks the address given', async () => {
    const server = await FakeServer.start(completion('ok'));
    await createClient({ provider: 'openai', baseUrl: server.url, fallback: 'none' }).generate('hi', {
      maxTokens: 3,
    });
    expect(server.received[0]).toMatchObject({
      path: '/v1/chat/completions',
      body: { model: 'gpt-4o-mini', max_tokens: 3 },
    });
  });
});

describe('generate with local', () => {
  test('posts the prompt form to /llm of the base address', async () => {
    const server = await FakeServer.start(json(200, { completion: ' world' }));
    const client = createClient({
      provider: 'local',
      baseUrl: server.url,
      apiKey: 'k-123',
      fallback: 'none',
    });
    expect(await client.generate('hello', { maxTokens: 7, temperature: 0.5 })).toBe(' world');
    expect(server.received[0]).toMatchObject({ path: '/llm', headers: { authorization: 'Bearer k-123' } });
    expect(server.received[0]!.body).toEqual({ prompt: 'hello', max_tokens: 7, temperature: 0.5 });
  });

  test('posts to the whole address given, its query included', async () => {
    const server = await FakeServer.start(json(200, { completion: 'x' }));
    await createClient({ provider: 'local', url: `${server.url}/raw?v=1`, fallback: 'none' }).generate(
      'hello',
    );
    expect(server.received[0]!.path).toBe('/raw?v=1');
    expect(server.received[0]!.body).toEqual({ prompt: 'hello' });
  });

  test('puts a system text before the raw prompt', async () => {
    const server = await FakeServer.start(json(200, { completion: 'x' }));
    const client = createClient({ provider: 'local', baseUrl: server.url, fallback: 'none' });
    await client.generate('hello', { system: 'Be brief' });
    expect(server.received[0]!.body).toEqual({ prompt: 'Be brief\n\nhello' });
  });

  test('streams the whole answer as one piece', async () => {
    const server = await FakeServer.start(json(200, { completion: 'all of it' }));
    const client = createClient({ provider: 'local', baseUrl: server.url, fallback: 'none' });
    expect(await collect(client.stream('hello'))).toEqual(['all of it']);
  });

  test('an answer without a completion is invalid_response', async () => {
    const server = await FakeServer.start(json(200, { text: 'x' }));
    const client = createClient({ provider: 'local', baseUrl: server.url, fallback: 'none' });
    expect(await failure(client.generate('hello'))).toMatchObject({ code: 'invalid_response' });
  });
});

describe('stub', () => {
  test('answers without any network', async () => {
    const client = createClient({ provider: 'stub' });
    expect(await client.generate('hi')).toBe(STUB_ANSWER);
    const pieces = await collect(client.stream('hi'));
    expect(pieces.length).toBeGreaterThan(3);
    expect(pieces.join('')).toBe(STUB_ANSWER);
  });

  test('obeys an aborted signal', async () => {
    const reason = new Error('mine');
    const client = createClient({ provider: 'stub' });
    const signal = AbortSignal.abort(reason);
    expect(await failure(client.generate('hi', { signal }))).toBe(reason);
    expect(await failure(collect(client.stream('hi', { signal })))).toBe(reason);
  });
});
