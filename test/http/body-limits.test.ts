import { once } from 'node:events';
import { request, type IncomingMessage } from 'node:http';
import { gzipSync } from 'node:zlib';
import { KEY, post, testApp } from '../support/app.js';
import { serve } from '../support/fake-server.js';

/** A body may be large because of its images, not because of its text. */

const limits = { maxBodyBytes: 100_000, maxBodyTextBytes: 10_000 };
const image = (length: number) => `data:image/jpeg;base64,${'A'.repeat(length)}`;
const asking = (...content: object[]) => ({ messages: [{ role: 'user', content }] });
const words = (length: number) => ({ type: 'text', text: 'x'.repeat(length) });
const CHAT = '/v1/chat/completions';
const send = (body: object, path = CHAT) => post(path, body, limits);

test.each<[string, object]>([
  ['an object', { type: 'image_url', image_url: { url: image(50_000) } }],
  ['a text', { type: 'image_url', image_url: image(50_000) }],
  ['an input_image', { type: 'input_image', image_url: image(50_000) }],
])('an image as %s may be larger than a text', async (_name, part) => {
  await send(asking(words(5_000), part)).expect(200);
  await send({ ...asking(part), model: 'm' }, '/complete').expect(200);
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
  const source = { type: 'base64', media_type: 'image/jpeg', data: 'A'.repeat(50_000) };
  await send({ messages: messages(source) }, '/v1/messages').expect(200);
  const { body } = await send(
    { messages: messages({ ...source, type: 'text' }), system: 'x'.repeat(20_000) },
    '/v1/messages',
  ).expect(413);
  expect(body.error.type).toBe('request_too_large');
});

test.each<[string, number, object, string]>([
  ['text', 10_000, asking(words(20_000)), CHAT],
  ['text next to an image', 10_000, asking(words(20_000), { type: 'image_url', image_url: image(9) }), CHAT],
  ['text that looks like an image', 10_000, asking({ type: 'text', text: image(20_000) }), CHAT],
  ['an image where none belongs', 10_000, { prompt: 'a', image_url: image(20_000) }, '/chat'],
  ['a prompt', 10_000, { prompt: 'x'.repeat(20_000) }, '/v1/completions'],
  ['an image', 100_000, asking({ type: 'image_url', image_url: image(100_000) }), CHAT],
])('too much of %s is 413 and says the limit, %d', async (_name, limit, body, path) => {
  const { body: reply } = await send(body, path).expect(413);
  expect(reply.error).toMatchObject({
    code: 'body_too_large',
    message: `The body is larger than ${limit} bytes; see MAX_BODY_BYTES and MAX_BODY_TEXT_BYTES`,
  });
});

test.each<[string, Record<string, string>, (json: string) => Buffer | string]>([
  ['in chunks', {}, (json) => json],
  ['compressed', { 'Content-Encoding': 'gzip' }, gzipSync],
])(
  'a body %s has the limit of text, because its size is not known beforehand',
  async (_name, headers, pack) => {
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
    expect([await status(5_000), await status(20_000)]).toEqual([200, 413]);
  },
);
