import { BrokenStreamError, ServerError } from '../../../src/client/index.js';
import {
  completion,
  cutAfter,
  delta,
  done,
  event,
  finish,
  json,
  openSse,
  sse,
  type Reply,
} from '../../support/fake-server.js';
import { fakeTimeouts } from '../../support/clock.js';
import { clientOf as clientFor, collect, drain, failure } from './helpers.js';

/** Also keeps the client's warnings. */
async function clientOf(reply: Reply) {
  const warnings: string[] = [];
  const warn = (message: string) => void warnings.push(message);
  return { ...(await clientFor(reply, { timeoutSecs: 60, warn })), warnings };
}

const hello = [delta('Hello'), delta(' world.')];
const content = (value: unknown) => event({ choices: [{ delta: { content: value } }] });

describe('a stream is whole', () => {
  test.each<[string, Reply]>([
    ['without [DONE] after its finish reason', sse(...hello, finish('stop'))],
    ['cut after its finish reason', cutAfter(...hello, finish('stop'))],
    ['with an unfinished event after its finish reason', sse(...hello, finish('stop'), 'data: {"usa')],
    ['with a [DONE] that has no blank line', sse(...hello, 'data: [DONE]\n')],
    ['with a [DONE] that has no line end', sse(...hello, 'data: [DONE]')],
    ['without a finish reason', sse(...hello, done)],
    ['with events without data', sse('data:\n\n', hello[0]!, 'data: \n\n', hello[1]!, finish('stop'), done)],
    ['with content in parts', sse(content([{ type: 'text', text: 'Hello' }]), content([' world.']), done)],
    ['with content that is one part', sse(content({ text: 'Hello' }), content(' world.'), done)],
    ['with reasoning among its parts', sse(content([{ type: 'thinking', thinking: [] }]), ...hello, done)],
    ['with an empty reason', sse(...hello, finish(''), finish('stop'), done)],
  ])('%s', async (_form, reply) => {
    const { client, warnings } = await clientOf(reply);
    expect((await collect(client.stream('hi'))).join('')).toBe('Hello world.');
    expect(await client.generate('hi')).toBe('Hello world.');
    expect(warnings).toEqual([]);
  });

  test('when the server keeps the connection after the finish reason', async () => {
    const { client } = await clientOf((response) => {
      openSse(response);
      response.write(delta('Hello') + finish('stop'));
    });
    const pieces = client.stream('hi')[Symbol.asyncIterator]();
    expect(await pieces.next()).toEqual({ value: 'Hello', done: false });
    const jest = fakeTimeouts();
    const next = pieces.next();
    await jest.advanceTimersByTimeAsync(60_000);
    expect(await next).toEqual({ value: undefined, done: true });
  });
});

const unknown = ['abort', 'insufficient_system_resource', 'error', 'cancelled', 'stopped', 7];

test.each(unknown)('finish reason %j is an error, streamed and whole', async (reason) => {
  const last = event({ choices: [{ delta: {}, finish_reason: reason }] });
  const streamed = await clientOf(sse(delta('Once upon a ti'), last, done));
  const { texts, thrown: broken } = await drain(streamed.client.stream('hi'));
  const expected = { code: 'unknown_finish_reason', message: expect.stringContaining(String(reason)) };
  for (const thrown of [
    broken,
    await failure(streamed.client.generate('hi')),
    await failure((await clientOf(completion('Once', reason as string))).client.generate('hi')),
  ]) {
    expect(thrown).toBeInstanceOf(BrokenStreamError);
    expect(thrown).toMatchObject(expected);
  }
  expect(texts).toEqual(['Once upon a ti']);
});

test.each([
  ['length', 'the reply is cut short, finish_reason length: raise maxTokens'],
  ['max_tokens', 'the reply is cut short, finish_reason length: raise maxTokens'],
  ['content_filter', 'the reply is cut short, finish_reason content_filter'],
  ['eos', undefined],
  ['STOP', undefined],
  ['stop', undefined],
])('finish reason %s with text: warning %j', async (reason, warning) => {
  const expected = warning === undefined ? [] : [warning];
  const whole = await clientOf(completion('Ceviche is a', reason));
  expect(await whole.client.generate('hi')).toBe('Ceviche is a');
  expect(whole.warnings).toEqual(expected);
  const streamed = await clientOf(sse(delta('Ceviche is a'), finish(reason), done));
  expect(await collect(streamed.client.stream('hi'))).toEqual(['Ceviche is a']);
  expect(streamed.warnings).toEqual(expected);
});

test.each([[[{ type: 'image_url', image_url: {} }]], [[{ type: 'text' }]], [42]])(
  'content %j is an error, not skipped',
  async (value) => {
    const whole = json(200, { choices: [{ message: { content: value }, finish_reason: 'stop' }] });
    const expected = { code: 'invalid_response' };
    expect(await failure((await clientOf(whole)).client.generate('hi'))).toMatchObject(expected);
    const streamed = sse(delta('a'), content(value), finish('stop'), done);
    expect(await failure(collect((await clientOf(streamed)).client.stream('hi')))).toMatchObject(expected);
  },
);

test('content in parts is read whole', async () => {
  const parts = [{ type: 'thinking', thinking: [] }, { type: 'text', text: 'Hello' }, ' world.'];
  const { client } = await clientOf(json(200, { choices: [{ message: { content: parts } }] }));
  expect(await client.generate('hi')).toBe('Hello world.');
});

test('an error with status 200 is that error', async () => {
  const reply = json(200, { error: { code: 429, message: 'Upstream is out of quota' } });
  const expected = { message: 'Upstream is out of quota', code: '429' };
  for (const thrown of [
    await failure((await clientOf(reply)).client.generate('hi')),
    await failure(collect((await clientOf(reply)).client.stream('hi'))),
  ]) {
    expect(thrown).toBeInstanceOf(ServerError);
    expect(thrown).toMatchObject(expected);
  }
});
