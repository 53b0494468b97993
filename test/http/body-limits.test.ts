import { once } from 'node:events';
import { request, type IncomingMessage } from 'node:http';
import { gzipSync } from 'node:zlib';
import supertest from 'supertest';
import { fakeBackends, KEY, post, saying, testApp } from '../support/app.js';
import { serve } from '../support/fake-server.js';
import { connection, requestText, serving, textUntil } from './serving.js';

/** A body may be large because of its images, where a model takes any, not because of its text. */

const limits = { maxBodyBytes: 100_000, maxImageBodyBytes: 1_000_000 };
const image = (length: number) => `data:image/jpeg;base64,${'A'.repeat(length)}`;
const asking = (...content: object[]) => ({ messages: [{ role: 'user', content }] });
const words = (length: number) => ({ type: 'text', text: 'x y '.repeat(length / 4) });
const CHAT = '/v1/chat/completions';
const send = (body: object, path = CHAT) => post(path, body, limits);

test.each<[string, object]>([
  ['an object', { type: 'image_url', image_url: { url: image(500_000) } }],
  ['a text', { type: 'image_url', image_url: image(500_000) }],
  ['an input_image', { type: 'input_image', image_url: image(500_000) }],
])('an image as %s may be larger than a text', async (_name, part) => {
  const generate = saying('x');
  await post(CHAT, asking(words(50_000), part), { ...limits, generate }).expect(200);
  const [{ body }] = generate.requests as any;
  expect(body.messages[0].content[1].image_url.url).toBe(image(500_000));
  await send({ ...asking(part), model: 'm' }, '/complete').expect(200);
});

test('an image may be written with the escapes that PHP and .NET use', async () => {
  const generate = saying('x');
  const data = `${image(500_000)}/+/+${'A'.repeat(100)}`;
  const json = JSON.stringify(asking({ type: 'image_url', image_url: { url: data } }))
    .replaceAll('/', '\\/')
    .replaceAll('+', '\\u002B');
  await supertest(testApp({ ...limits, generate }))
    .post(CHAT)
    .set({ 'X-API-Key': KEY, 'Content-Type': 'application/json' })
    .send(json)
    .expect(200);
  const [{ body }] = generate.requests as any;
  expect(body.messages[0].content[0].image_url.url).toBe(data);
});

test.each<[string, object[]]>([
  [
    'in a message',
    [{ role: 'user', content: [{ type: 'input_image', image_url: image(500_000), detail: 'auto' }] }],
  ],
  [
    'as the output of a function',
    [
      { type: 'function_call', call_id: 'c', name: 'f', arguments: '{}' },
      {
        type: 'function_call_output',
        call_id: 'c',
        output: [{ type: 'input_image', image_url: image(500_000) }],
      },
    ],
  ],
])('and so may an image of OpenAI’s Responses %s', async (_name, input) => {
  await send({ input }, '/v1/responses').expect(200);
});

test.each<[string, (source: object) => object[]]>([
  ['in a message', (source) => [{ role: 'user', content: [{ type: 'image', source }] }]],
  [
    'in the result of a tool',
    (source) => [
      { role: 'assistant', content: [{ type: 'tool_use', id: 'c', name: 'f', input: {} }] },
      {
        role: 'user',
        content: [{ type: 'tool_result', tool_use_id: 'c', content: [{ type: 'image', source }] }],
      },
    ],
  ],
])('and so may an image in Anthropic’s form %s', async (_name, messages) => {
  const source = { type: 'base64', media_type: 'image/jpeg', data: 'A'.repeat(500_000) };
  await send({ messages: messages(source) }, '/v1/messages').expect(200);
  await send({ messages: messages(source) }, '/v1/messages/count_tokens').expect(200);
  const system = words(200_000).text;
  const { body } = await send({ messages: messages(source), system }, '/v1/messages').expect(413);
  expect(body.error.type).toBe('request_too_large');
});

test('a document is text, whatever it calls itself', async () => {
  const source = { type: 'text', media_type: 'image/png', data: 'A'.repeat(200_000) };
  const messages = [{ role: 'user', content: [{ type: 'document', source }] }];
  await send({ messages }, '/v1/messages').expect(413);
});

const TEXT = 'The body is larger than 100000 bytes without its images; see MAX_BODY_BYTES';
const NO_IMAGES = 'The body is larger than 100000 bytes; see MAX_BODY_BYTES';

test.each<[string, string, object, string]>([
  ['text', TEXT, asking(words(200_000)), CHAT],
  ['text next to an image', TEXT, asking(words(200_000), { type: 'image_url', image_url: image(9) }), CHAT],
  ['text that looks like an image', TEXT, asking({ type: 'text', text: image(200_000) }), CHAT],
  [
    'a tool’s argument that looks like an image',
    TEXT,
    {
      messages: [
        { role: 'user', content: 'a' },
        {
          role: 'assistant',
          tool_calls: [{ id: 'c', function: { name: 'f', arguments: { image_url: image(200_000) } } }],
        },
      ],
    },
    CHAT,
  ],
  ['an image on a route without any', NO_IMAGES, { prompt: 'a', image_url: image(200_000) }, '/chat'],
  ['a prompt', NO_IMAGES, { prompt: 'x'.repeat(200_000) }, '/v1/completions'],
  [
    'an image',
    'The body is larger than 1000000 bytes; see MAX_IMAGE_BODY_BYTES',
    asking({ type: 'image_url', image_url: image(1_000_000) }),
    CHAT,
  ],
])('too much of %s is 413 and says the limit', async (_name, message, body, path) => {
  const { body: reply } = await send(body, path).expect(413);
  expect(reply.error).toMatchObject({ code: 'body_too_large', message });
});

test('where no model takes images, a body with one is as large as any other', async () => {
  const source = fakeBackends();
  const backends = { ...source, registry: { ...source.registry, takesImages: false } };
  const ask = (length: number) =>
    post(CHAT, asking({ type: 'image_url', image_url: image(length) }), { ...limits, backends });
  await ask(50_000).expect(200);
  expect((await ask(200_000).expect(413)).body.error.message).toBe(
    `${NO_IMAGES}. No model here takes images`,
  );
});

test.each<[string, Record<string, string>, (json: string) => Buffer | string]>([
  ['in chunks', {}, (json) => json],
  ['compressed', { 'Content-Encoding': 'gzip' }, gzipSync],
])('a body %s has the same limit', async (_name, headers, pack) => {
  const url = await serve(testApp(limits));
  const status = async (length: number) => {
    const all = { 'X-API-Key': KEY, 'Content-Type': 'application/json', ...headers };
    const sent = request(url + CHAT, { method: 'POST', headers: all, agent: false });
    sent.write(pack(JSON.stringify(asking({ type: 'image_url', image_url: image(length) }))));
    sent.end();
    const [reply] = (await once(sent, 'response')) as [IncomingMessage];
    reply.resume();
    return reply.statusCode;
  };
  expect([await status(500_000), await status(1_000_000)]).toEqual([200, 413]);
});

test('a refused body is read to its end, and its connection serves the next request', async () => {
  const { url } = await serving(limits);
  const socket = connection(url);
  socket.write(
    requestText('/chat', { prompt: 'x'.repeat(4_000_000) }) + requestText('/chat', { prompt: 'a' }),
  );
  const text = await textUntil(socket, '\r\n0\r\n');
  expect(text.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 413', 'HTTP/1.1 200']);
});
