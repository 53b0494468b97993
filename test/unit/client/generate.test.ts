import { createClient, ServerError, type ClientOptions } from '../../../src/client/index.js';
import { STUB_REPLY } from '../../../src/client/providers.js';
import { completion, fakeServer, json } from '../../support/fake-server.js';
import { clientOf, collect, failure, failures } from './helpers.js';

const CHAT = '/v1/chat/completions';

describe('generate with lan', () => {
  test('posts a chat completion and leaves defaults to the server', async () => {
    const { client, received } = await clientOf(completion('Ceviche'));
    expect(await client.generate('Name a dish')).toBe('Ceviche');
    const body = { model: 'default', messages: [{ role: 'user', content: 'Name a dish' }], stream: false };
    expect(received).toEqual([{ path: CHAT, body, headers: expect.anything() }]);
    expect(received[0]!.headers).not.toHaveProperty('authorization');
  });

  test('sends system, model, temperature, max_tokens and the key', async () => {
    const { client, received } = await clientOf(completion('ok'), { apiKey: ' k-123 ' });
    await client.generate('hi', { system: 'Be brief', model: 'fast', temperature: 0, maxTokens: 5 });
    expect(received[0]!.headers.authorization).toBe('Bearer k-123');
    expect(received[0]!.body).toEqual({
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

  test.each([
    ...['', '/', '/v1', '/v1/', '//'].map((end) => [end, CHAT]),
    ['/llm-box/v1', `/llm-box${CHAT}`],
  ])('accepts a base address that ends with "%s"', async (end, path) => {
    const { url, received } = await fakeServer(completion('ok'));
    await createClient({ baseUrl: `${url}${end}`, fallback: 'none' }).generate('hi');
    expect(received[0]!.path).toBe(path);
  });

  test('does not send a blank key', async () => {
    const { client, received } = await clientOf(completion('ok'), { apiKey: '  ' });
    await client.generate('hi');
    expect(received[0]!.headers).not.toHaveProperty('authorization');
  });

  test.each([
    [
      'cut at max_tokens',
      completion(null, 'length'),
      ['the reply is empty, finish_reason length: raise maxTokens'],
    ],
    ['finished', completion(''), []],
  ])(
    'returns an empty reply, and warns unless it was finished: one that was %s',
    async (_, reply, expected) => {
      const warnings: string[] = [];
      const { url } = await fakeServer(reply);
      const client = createClient({ baseUrl: url, warn: (message) => warnings.push(message) });
      expect(await client.generate('hi')).toBe('');
      expect(warnings).toEqual(expected);
    },
  );

  test.each(['{}', 'null', '[]', '{"choices":[]}', '{"choices":[{}]}', '<html>'])(
    'fails with invalid_response when the reply is %s',
    async (body) => {
      const { client } = await clientOf(json(200, body));
      const error = await failure(client.generate('hi'));
      expect(error).toBeInstanceOf(ServerError);
      expect(error).toMatchObject({ code: 'invalid_response', status: 200, requestId: 'req-1' });
    },
  );
});

test('generate with openai names its own default model and asks the configured address', async () => {
  const { client, received } = await clientOf(completion('ok'), { provider: 'openai' });
  await client.generate('hi', { maxTokens: 3 });
  expect(received[0]).toMatchObject({ path: CHAT, body: { model: 'gpt-4o-mini', max_tokens: 3 } });
});

describe('generate with local', () => {
  const local = (reply: object, options: ClientOptions = {}) =>
    clientOf(json(200, reply), { provider: 'local', ...options });

  test('posts the prompt to /llm of the base address', async () => {
    const { client, received } = await local({ completion: ' world' }, { apiKey: 'k-123' });
    expect(await client.generate('hello', { maxTokens: 7, temperature: 0.5 })).toBe(' world');
    expect(received[0]).toMatchObject({ path: '/llm', headers: { authorization: 'Bearer k-123' } });
    expect(received[0]!.body).toEqual({ prompt: 'hello', max_tokens: 7, temperature: 0.5 });
  });

  test('posts to the whole configured URL, including its query', async () => {
    const { url, received } = await fakeServer(json(200, { completion: 'x' }));
    await createClient({ provider: 'local', url: `${url}/raw?v=1`, fallback: 'none' }).generate('hello');
    expect(received[0]).toMatchObject({ path: '/raw?v=1' });
    expect(received[0]!.body).toEqual({ prompt: 'hello' });
  });

  test('puts a system text before the raw prompt', async () => {
    const { client, received } = await local({ completion: 'x' });
    await client.generate('hello', { system: 'Be brief' });
    expect(received[0]!.body).toEqual({ prompt: 'Be brief\n\nhello' });
  });

  test('streams the whole reply as one piece', async () => {
    const { client } = await local({ completion: 'all of it' });
    expect(await collect(client.stream('hello'))).toEqual(['all of it']);
  });

  test('fails with invalid_response when the reply has no completion', async () => {
    const { client } = await local({ text: 'x' });
    expect(await failure(client.generate('hello'))).toMatchObject({ code: 'invalid_response' });
  });
});

describe('the stub', () => {
  const client = createClient({ provider: 'stub' });

  test('replies without any network', async () => {
    expect(await client.generate('hi')).toBe(STUB_REPLY);
    const pieces = await collect(client.stream('hi'));
    expect(pieces.length).toBeGreaterThan(3);
    expect(pieces.join('')).toBe(STUB_REPLY);
  });

  test('obeys an aborted signal', async () => {
    const reason = new Error('mine');
    const signal = AbortSignal.abort(reason);
    for (const error of await failures(client, { signal })) expect(error).toBe(reason);
  });
});
