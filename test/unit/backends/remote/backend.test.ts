import { createServer } from 'node:http';
import { connect } from 'node:net';
import { addAbortSignal, Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { Agent, type Dispatcher } from 'undici';
import type { GenerateEvent } from '../../../../src/contract.js';
import { LMServError } from '../../../../src/errors.js';
import { ReplyFlow } from '../../../../src/generate/flow.js';
import {
  answered,
  answering,
  asking,
  backend,
  begun,
  chat,
  context,
  diesAfter,
  finish,
  firstToken,
  hangs,
  hangsAfter,
  refuses,
  role,
  run,
  sse,
  STREAM,
  streams,
  textOf,
  token,
  usage,
  WHOLE,
  type Answer,
} from './helpers.js';
import { deadUrl, serve } from '../../../support/fake-server.js';
import { pull } from '../../../support/pulled.js';

const retrying = { retries: { attempts: 2, budgetMs: 5_000 } };

describe('a whole reply', () => {
  test('comes as events, with the usage last', async () => {
    const { events, thrown } = await answered(streams());
    expect(thrown).toBeUndefined();
    expect(events).toEqual([
      { type: 'prefill', promptTokens: 5 },
      { type: 'text', index: 0, text: 'Hel' },
      { type: 'text', index: 0, text: 'lo' },
      { type: 'finish', index: 0, reason: 'stop' },
      { type: 'usage', usage: { promptTokens: 7, completionTokens: 2, cachedTokens: 0 } },
    ]);
  });

  test('is asked for as a stream, with the key, the model and the route', async () => {
    const { server } = await answered(streams(), { apiKey: 'the-key' });
    const [{ path, headers, body }] = server.asked as [(typeof server.asked)[0]];
    expect(path).toBe('/v1/chat/completions');
    expect(headers.authorization).toBe('Bearer the-key');
    expect(body).toEqual({
      messages: [{ role: 'user', content: 'the secret plan' }],
      max_tokens: 8,
      stream: true,
      stream_options: { include_usage: true },
      model: 'their-model',
    });
  });

  test('about an image is asked for in pieces of a known length', async () => {
    const url = `data:image/png;base64,${'QUJD'.repeat(300_000)}`;
    const messages = [{ role: 'user', content: [{ type: 'image_url', image_url: { url } }] }];
    const server = await answering(streams());
    const asked = { kind: 'chat', n: 1, body: { messages } } as const;
    const { thrown } = await run(pull(backend(server.url).backend, asked, context()));
    expect(thrown).toBeUndefined();
    const [{ headers, body }] = server.asked as [(typeof server.asked)[0]];
    expect(body.messages).toEqual(messages);
    expect(headers['content-length']).toBe(String(Buffer.byteLength(JSON.stringify(body))));
    expect(headers['transfer-encoding']).toBeUndefined();
  });

  test('of a raw prompt is asked for below a base URL that has a path', async () => {
    const server = await answering(
      streams(sse({ choices: [{ text: 'hi', finish_reason: 'length' }] }, '[DONE]')),
    );
    const raw = { kind: 'raw', n: 1, body: { prompt: 'Say' } } as const;
    const { events } = await run(pull(backend(`${server.url}/api/v1/`).backend, raw, context()));
    expect(server.asked[0]!.path).toBe('/api/v1/completions');
    expect(events.slice(0, 3)).toEqual([
      { type: 'prefill', promptTokens: 1 },
      { type: 'text', index: 0, text: 'hi' },
      { type: 'finish', index: 0, reason: 'length' },
    ]);
  });

  test('without usage is counted, and its prompt estimated', async () => {
    const { events } = await answered(streams(sse(token('a'), token('b'), token('c'), finish(), '[DONE]')));
    expect(events.at(-1)).toEqual({
      type: 'usage',
      usage: { promptTokens: 5, completionTokens: 3, cachedTokens: 0 },
    });
  });

  test.each([
    ['without [DONE]', streams(sse(token('a'), finish()))],
    ['with the connection cut after the finish', diesAfter(sse(token('a'), finish()))],
  ])('is whole %s', async (_, answer) => {
    const { events, thrown } = await answered(answer);
    expect(thrown).toBeUndefined();
    expect(events.map((event) => event.type)).toEqual(['prefill', 'text', 'finish', 'usage']);
  });

  test.each([
    ['nothing more', ''],
    ['only signs of life', ': ping\n\n'.repeat(3) + sse({ choices: [] }, role)],
  ])('is whole a second after the finish when the server says %s', async (_, more) => {
    const { running, clock } = await asking(hangsAfter(sse(token('a'), finish()) + more));
    await clock.pass(1_000);
    const { events, thrown } = await running;
    expect(thrown).toBeUndefined();
    expect(events.map((event) => event.type)).toEqual(['prefill', 'text', 'finish', 'usage']);
  });

  test('is waited for when each chunk has a finish reason', async () => {
    const chunk = { choices: [{ ...token('a').choices[0], finish_reason: 'stop' }] };
    const { running, clock, server } = await asking(hangsAfter(sse(chunk)));
    await clock.armed(15_000);
    clock.advance(14_000);
    (await server.nth(1)).response.end(sse(token('b'), '[DONE]'));
    const { events, thrown } = await running;
    expect(thrown).toBeUndefined();
    expect(textOf(events)).toBe('ab');
  });

  test('is the same however the bytes are cut', async () => {
    const text = sse(role, token('né'), token(' 🦙'), finish(), usage(1, 2), '[DONE]');
    const { events } = await answered(({ response }) => {
      response.writeHead(200, STREAM);
      const send = ([first, ...rest]: readonly number[]): void => {
        if (first === undefined) response.end();
        else response.write(Buffer.from([first]), () => send(rest));
      };
      send([...Buffer.from(text)]);
    });
    expect(textOf(events)).toBe('né 🦙');
    expect(events.at(-1)).toMatchObject({ usage: { promptTokens: 1, completionTokens: 2 } });
  });

  test('is held back: what nobody asks for is not read', async () => {
    let made = 0;
    const body = new Readable({
      highWaterMark: 1,
      read() {
        made += 1;
        this.push(sse(token(`t${made}`)));
      },
    });
    const dispatcher = {
      request: ({ signal }: { signal: AbortSignal }) =>
        Promise.resolve({ statusCode: 200, headers: {}, body: addAbortSignal(signal, body) }),
    } as unknown as Dispatcher;
    const { backend: far } = backend('http://far', {}, { dispatcher });
    const events = pull(far, chat, context());
    await firstToken(events);
    await new Promise(setImmediate);
    const before = made;
    await new Promise(setImmediate);
    expect(made).toBe(before);
    expect(made).toBeLessThan(5);
    await events.return(undefined);
    expect(body.destroyed).toBe(true);
  });

  test('leaves its connection to the next request, but not at a llama.cpp server', async () => {
    const server = await answering(streams());
    // One connection: the second request waits for the first one's to come free, or for another in its place.
    const { backend: kept } = backend(server.url, {}, { dispatcher: new Agent({ connections: 1 }) });
    await run(pull(kept, chat, context()));
    await run(pull(kept, chat, context()));
    expect(server.asked[1]!.port).toBe(server.asked[0]!.port);
    await run(pull(backend(server.url, { kind: 'llama' }).backend, chat, context()));
    expect(server.asked[2]!.headers.connection).toBe('close');
  });
});

describe('failures before the first token', () => {
  test('nobody listens', async () => {
    const { backend: far } = backend(await deadUrl());
    const { thrown } = await run(pull(far, chat, context()));
    expect(thrown).toMatchObject({
      code: 'provider_api_error',
      retryable: true,
      message: 'The provider far cannot be reached (ECONNREFUSED)',
    });
  });

  test('no TLS where TLS is asked for', async () => {
    const server = await answering(streams());
    const { backend: far } = backend(server.url.replace('http:', 'https:'));
    const { thrown } = await run(pull(far, chat, context()));
    expect(thrown).toMatchObject({ code: 'provider_api_error' });
    expect(server.asked).toHaveLength(0);
  });

  test('no connection in time', async () => {
    const failure = Object.assign(new Error('Connect Timeout Error'), { code: 'UND_ERR_CONNECT_TIMEOUT' });
    const dispatcher = { request: () => Promise.reject(failure) } as unknown as Dispatcher;
    const { thrown } = await run(pull(backend('http://far', {}, { dispatcher }).backend, chat, context()));
    expect(thrown).toMatchObject({ code: 'provider_timeout', status: 504 });
  });

  test('500, tried again after a jittered wait until it works', async () => {
    const its = context();
    const { running, clock } = await asking([refuses(500), refuses(500), streams()], retrying, its);
    await clock.pass(100);
    await clock.pass(200);
    expect(textOf((await running).events)).toBe('Hello');
    expect(its.trace.attempts).toBe(3);
  });

  test('500 for ever, given up after the attempts', async () => {
    const { running, clock, server } = await asking(
      refuses(500, { error: { message: 'out of luck' } }),
      retrying,
    );
    await clock.pass(100);
    await clock.pass(200);
    expect((await running).thrown).toMatchObject({
      code: 'provider_api_error',
      status: 502,
      providerStatus: 500,
      message: 'The provider far answered 500: out of luck',
    });
    expect(server.asked).toHaveLength(3);
    expect(clock.timers).toBe(0);
  });

  test('429 is waited out as long as it asks', async () => {
    const { running, clock } = await asking([refuses(429, {}, { 'retry-after': '2' }), streams()], retrying);
    await clock.pass(2_100);
    expect(textOf((await running).events)).toBe('Hello');
  });

  test('429 that asks for more than the budget is passed on', async () => {
    const { thrown, server } = await answered(refuses(429, {}, { 'retry-after': '60' }), retrying);
    expect(thrown).toMatchObject({
      code: 'provider_rate_limited',
      status: 429,
      retryAfter: 60,
      providerStatus: 429,
    });
    expect(server.asked).toHaveLength(1);
  });

  test.each([
    ['429', refuses(429)],
    ['a full server', refuses(503, {}, { 'retry-after': '1' })],
  ])('%s is not waited for where another backend may serve', async (_, answer) => {
    const { thrown, server } = await answered(answer, retrying, context({ mayFallBack: true }));
    expect(thrown).toBeInstanceOf(LMServError);
    expect(server.asked).toHaveLength(1);
  });

  test('silence before the headers', async () => {
    const { running, clock, server } = await asking(hangs);
    const asked = await server.nth(1);
    clock.advance(59_999);
    clock.advance(1);
    expect((await running).thrown).toMatchObject({
      code: 'provider_timeout',
      message: 'The provider far sent no token in 60 s',
    });
    await asked.closed;
  });

  test('silence after the headers, pings being none', async () => {
    const { running, clock, server } = await asking(hangsAfter(': ping\n\n'));
    const asked = await server.nth(1);
    await new Promise<void>((resolve) => asked.response.write(': ping\n\n', () => resolve()));
    clock.advance(60_000);
    expect((await running).thrown).toMatchObject({ code: 'provider_timeout' });
    await asked.closed;
  });

  test('a cut before the first token is tried again', async () => {
    const { running, clock, server } = await asking([diesAfter(sse(role)), streams()], retrying);
    await clock.pass(100);
    expect(textOf((await running).events)).toBe('Hello');
    expect(server.asked).toHaveLength(2);
  });

  test.each([
    ['an empty stream', streams('')],
    ['only [DONE]', streams(sse('[DONE]'))],
    ['a page instead of a stream', streams('<html>welcome to the wifi</html>')],
    ['no JSON', streams('data: {"choices": [{"delta"\n\n')],
    ['JSON that is no chunk', streams(sse('null'))],
    ['content that is no text', streams(sse({ choices: [{ delta: { content: 5 } }] }))],
    ['binary', streams('\u0000\u0001\uFFFE')],
  ])('%s is a broken reply', async (_, answer) => {
    const { events, thrown } = await answered(answer);
    expect(events).toEqual([]);
    expect(thrown).toMatchObject({ code: 'generation_failed', retryable: true });
  });

  test('a redirect is an error, and where it leads is never asked', async () => {
    const other = await answering(streams());
    const server = await answering(
      refuses(307, '', { location: `${other.url}/v1/chat/completions` }),
      refuses(302, '', { location: other.url }),
    );
    const { backend: far } = backend(server.url, { ...retrying, apiKey: 'the-key' });
    for (const status of [307, 302]) {
      const { thrown } = await run(pull(far, chat, context()));
      expect(thrown).toMatchObject({ code: 'provider_api_error', providerStatus: status });
    }
    expect(other.asked).toHaveLength(0);
    expect(server.asked).toHaveLength(2);
  });
});

describe('a server that does not keep to the protocol', () => {
  const failure = async (answer: Answer) => {
    const { events, thrown, server } = await answered(answer);
    expect(events).toEqual([]);
    return { server, thrown };
  };

  const endless =
    (status: number, text: string): Answer =>
    ({ response }) => {
      response.writeHead(status, STREAM);
      const more = (): void => void response.write(text, () => response.destroyed || more());
      more();
    };

  test('is told not to compress, and not read when it does', async () => {
    const packed = gzipSync(WHOLE);
    const { server, thrown } = await failure(({ response }) =>
      response.writeHead(200, { ...STREAM, 'content-encoding': 'gzip' }).end(packed),
    );
    expect(server.asked[0]!.headers['accept-encoding']).toBe('identity');
    expect(thrown).toMatchObject({
      code: 'generation_failed',
      message: 'The provider far compressed its reply, although it was told not to',
    });
  });

  test.each([
    ['data lines without a blank line', 'data:x\n'.repeat(1_000)],
    ['a line without end', 'data: '.padEnd(60_000, 'x')],
  ])('is cut off when it sends %s for ever', async (_, text) => {
    const { server, thrown } = await failure(endless(200, text));
    expect(thrown).toMatchObject({
      code: 'generation_failed',
      message: 'The provider far sent an event of more than 1 Mi characters',
    });
    await server.asked[0]!.closed;
  });

  test('is cut off when its error never ends', async () => {
    const { server, thrown } = await failure(endless(500, 'no '.repeat(10_000)));
    expect(thrown).toMatchObject({ code: 'provider_api_error' });
    expect((thrown as LMServError).message.length).toBeLessThan(600);
    await server.asked[0]!.closed;
  });

  test('cannot send headers without end', async () => {
    const { thrown } = await failure(({ response }) =>
      response.writeHead(200, { ...STREAM, 'x-long': 'x'.repeat(100_000) }).end(WHOLE),
    );
    expect(thrown).toMatchObject({
      message: 'The provider far cannot be reached (UND_ERR_HEADERS_OVERFLOW)',
    });
  });

  test('may send interim responses and trailing data', async () => {
    const { events, thrown } = await answered(({ response }) => {
      response.writeEarlyHints({ link: '</x>; rel=preload' });
      response.writeProcessing();
      response.writeHead(200, STREAM).end(WHOLE + sse(token('never read')));
    });
    expect(thrown).toBeUndefined();
    expect(textOf(events)).toBe('Hello');
  });
});

describe('failures after the first token', () => {
  test('silence ends it, and it is not tried again', async () => {
    const { running, clock, server } = await asking([hangsAfter(sse(token('a'))), streams()], retrying);
    await clock.pass(15_000);
    const { events, thrown } = await running;
    expect(textOf(events)).toBe('a');
    expect(thrown).toMatchObject({
      code: 'provider_timeout',
      message: 'The provider far sent no further token in 15 s',
    });
    expect(server.asked).toHaveLength(1);
  });

  test('the time a slow client takes is not the server’s', async () => {
    const { clock, events, asked } = await begun();
    clock.advance(500_000);
    const next = events.next();
    asked.response.end(sse(finish(), '[DONE]'));
    expect(await next).toMatchObject({ value: { type: 'finish' } });
    await events.return(undefined);
  });

  test('nor once the last token of a packet fills its buffers', async () => {
    const server = await answering(hangsAfter(sse(token('a'), token('b'))));
    const { backend: far, clock } = backend(server.url);
    const flow = new ReplyFlow();
    const seen: string[] = [];
    let full!: () => void;
    const filled = new Promise<void>((resolve) => (full = resolve));
    const event = (next: GenerateEvent) => {
      if (next.type !== 'text' || seen.push(next.text) < 2) return;
      flow.hold();
      full();
    };
    const { done } = await far.open(chat, context({ flow }), { event });
    await filled;
    clock.advance(500_000);
    flow.release();
    (await server.nth(1)).response.end(sse(finish(), '[DONE]'));
    await done;
    expect(seen).toEqual(['a', 'b']);
  });

  test('the whole has its time too', async () => {
    const { clock, events } = await begun();
    clock.advance(600_000);
    await expect(events.next()).rejects.toMatchObject({
      code: 'provider_timeout',
      message: 'The provider far did not finish its reply in 600 s',
    });
  });

  test.each([
    ['a cut', diesAfter(sse(token('a')))],
    ['an end without a finish', streams(sse(token('a')))],
    ['an error event', streams(sse(token('a'), { error: { message: 'worker died' } }))],
    ['a finish that is an error', streams(sse(token('a'), finish('error'), '[DONE]'))],
    ['a line that is no JSON', streams(`${sse(token('a'))}data: oops\n\n${sse(finish())}`)],
  ])('%s is a broken reply, and not tried again', async (_, answer) => {
    const { events, thrown, server } = await answered([answer, streams()], retrying);
    expect(events).toEqual([
      { type: 'prefill', promptTokens: 5 },
      { type: 'text', index: 0, text: 'a' },
    ]);
    expect(thrown).toMatchObject({ code: 'generation_failed', retryable: true });
    expect(server.asked).toHaveLength(1);
  });
});

describe('refusals', () => {
  const error = (fields: object) => ({ error: { message: 'because', ...fields } });

  test.each([
    [400, error({ type: 'invalid_request_error', param: 'top_p' }), 'invalid_value', 400],
    [400, error({ type: 'BadRequestError' }), 'invalid_value', 400],
    [400, error({ code: 'context_length_exceeded' }), 'context_length_exceeded', 400],
    [400, error({ type: 'exceed_context_size_error' }), 'context_length_exceeded', 400],
    [400, { message: "this model's maximum context length is 8" }, 'context_length_exceeded', 400],
    [400, error({ type: 'invalid_request_error', code: 'model_not_found' }), 'provider_api_error', 502],
    [400, { detail: 'no' }, 'provider_api_error', 502],
    [401, error({}), 'configuration_error', 500],
    [403, error({}), 'configuration_error', 500],
    [402, error({}), 'provider_api_error', 502],
    [400, error({ type: 'invalid_request_error', message: 'no', param: 'model' }), 'provider_api_error', 502],
    [
      400,
      [{ error: { message: 'API key not valid.', status: 'INVALID_ARGUMENT' } }],
      'configuration_error',
      500,
    ],
    [400, [{ error: { message: 'no', status: 'INVALID_ARGUMENT' } }], 'invalid_value', 400],
    [400, { object: 'error', message: 'no', type: 'BadRequestError' }, 'invalid_value', 400],
    [400, error({ code: 'content_filter' }), 'invalid_value', 400],
    [422, { detail: 'no' }, 'invalid_value', 400],
    [
      422,
      { error: '`inputs` must have less than 8 tokens', error_type: 'validation' },
      'context_length_exceeded',
      400,
    ],
    [400, { message: 'prompt is too long: 9 tokens > 8 maximum' }, 'context_length_exceeded', 400],
    [400, { error: { message: 'Please reduce the length of the messages' } }, 'context_length_exceeded', 400],
    ...[
      'The input exceeds the maximum context limit of 8 tokens.',
      'Your input exceeds the context window of this model',
      'expected a string too long; maximum length 8',
      'Invalid request: Your request exceeded model token limit: 8',
      'The input token count (9) exceeds the maximum number of tokens allowed (8).',
      'Input is too long for requested model.',
      'This model’s maximum prompt length is 8 but the request contains 9 tokens.',
      'Range of input length should be [1, 8]',
    ].map((message) => [400, { error: { message } }, 'context_length_exceeded', 400] as const),
    [400, 'data: {"error":{"type":"invalid_request_error","message":"no"}}\n\n', 'invalid_value', 400],
    [413, '<html>nginx</html>', 'context_length_exceeded', 400],
    [
      500,
      { error: { message: 'the request exceeds the available context size' } },
      'context_length_exceeded',
      400,
    ],
    [500, { error: { message: 'image input is not supported' } }, 'invalid_value', 400],
    [404, { error: { message: 'No endpoints found that support tool use' } }, 'invalid_value', 400],
    [400, { error: 'llava does not support tools' }, 'invalid_value', 400],
    [404, '<html>nginx</html>', 'provider_api_error', 502],
    [429, error({ code: 'insufficient_quota' }), 'provider_rate_limited', 429],
  ] as const)('%i %j is %s, and not tried again', async (status, body, code, shown) => {
    const { thrown, server, far } = await answered(refuses(status, body), retrying);
    expect(thrown).toMatchObject({ code, status: shown, providerStatus: status });
    expect(server.asked).toHaveLength(1);
    expect(far.status().ready).toBe(true);
  });

  test.each([
    ['llava does not support tools', 'tools'],
    ["this model doesn't accept function calls", 'tools'],
    ['This model does not support image input', 'messages'],
    ["images aren't supported", 'messages'],
    ['No endpoints found that support image input', 'messages'],
  ])('of what a model cannot do name the field: %s', async (message, param) => {
    const { thrown } = await answered(refuses(400, error({ message })));
    expect(thrown).toMatchObject({ code: 'invalid_value', message, param });
  });

  test.each([
    [{ error: { error: { message: 'because' } } }, 'because'],
    [
      { error: { message: 'Provider returned error', metadata: { raw: '{"message":"because"}' } } },
      'Provider returned error; because',
    ],
    [{ statusCode: 502, message: ['one', 'two'], error: 'Bad Gateway' }, 'Bad Gateway; one; two'],
    [{ detail: [{ loc: ['body', 'messages', 0], msg: 'because' }] }, 'messages.0: because'],
    [{ message: { detail: [{ loc: ['body'], msg: 'because' }] } }, 'because'],
    [{ success: false, errors: [{ code: 1, message: 'because' }] }, 'because'],
    [{ base_resp: { status_code: 1, status_msg: 'because' } }, 'because'],
    [{ error: { details: [{ fieldViolations: [{ field: 'x', description: 'because' }] }] } }, 'because'],
  ])('of the form %j are understood', async (body, words) => {
    const { thrown } = await answered(refuses(500, body));
    expect((thrown as Error).message).toBe(`The provider far answered 500: ${words}`);
  });

  test('name the field', async () => {
    const { thrown } = await answered(refuses(400, error({ type: 'invalid_request_error', param: 'top_p' })));
    expect(thrown).toMatchObject({ message: 'because', param: 'top_p' });
  });

  test('do not quote the client', async () => {
    const { thrown } = await answered(refuses(400, error({ message: 'cannot parse "the secret plan"' })));
    expect((thrown as Error).message).toBe('The provider far answered 400: cannot parse "[prompt]"');
  });

  test.each([
    [undefined, 'The provider far has no key: FAR_KEY is not set'],
    ['', 'The provider far has no key: FAR_KEY is not set'],
    ['a\nb', 'The provider far has a key with characters that an HTTP header cannot contain'],
  ])('of our own: a key like %j is never sent', async (apiKey, message) => {
    const { thrown, server, far } = await answered(streams(), { apiKey, apiKeyEnv: 'FAR_KEY' });
    expect(thrown).toMatchObject({ code: 'configuration_error', message });
    expect(server.asked).toHaveLength(0);
    expect(far.status().ready).toBe(false);
  });
});

describe('the client goes away', () => {
  test.each([
    ['before the headers', hangs],
    ['after the headers', hangsAfter('')],
    ['after the first token', hangsAfter(sse(token('a')))],
  ])('%s: the request is cancelled at once', async (_, answer) => {
    const its = context();
    const { running, clock, server } = await asking(answer, retrying, its);
    const asked = await server.nth(1);
    its.abort(new Error('gone'));
    expect((await running).thrown).toMatchObject({ message: 'gone' });
    await asked.closed;
    expect(clock.timers).toBe(0);
  });

  test('while waiting to try again', async () => {
    const its = context();
    const { running, clock } = await asking(refuses(500), retrying, its);
    await clock.armed(100);
    its.abort(new Error('gone'));
    expect((await running).thrown).toMatchObject({ message: 'gone' });
    expect(clock.timers).toBe(0);
  });

  test('while the whole reply waits for it', async () => {
    const server = await answering(streams());
    const flow = new ReplyFlow();
    const its = context({ flow });
    const { backend: far, clock } = backend(server.url);
    flow.hold();
    const opened = far.open(chat, its, { event: () => undefined });
    const asked = await server.nth(1);
    await asked.closed;
    // The connection's end comes to our side as well.
    for (let turns = 0; turns < 10; turns += 1) await new Promise(setImmediate);
    its.abort(new Error('gone'));
    await expect(opened).rejects.toThrow('gone');
    expect(clock.timers).toBe(0);
  });

  test('by leaving the loop', async () => {
    const { clock, events, asked } = await begun();
    await events.return(undefined);
    await asked.closed;
    expect(clock.timers).toBe(0);
  });
});

describe('the circuit', () => {
  async function opened(...answers: Answer[]) {
    const server = await answering(...Array.from({ length: 5 }, () => refuses(500)), ...answers);
    const made = backend(server.url);
    for (let count = 0; count < 5; count += 1) await run(pull(made.backend, chat, context()));
    return { server, ...made };
  }

  test('opens after five failures: nothing is sent, and it says when to come again', async () => {
    const { backend: far, server, lines } = await opened();
    expect(far.status().ready).toBe(false);
    const { thrown } = await run(pull(far, chat, context()));
    expect(thrown).toMatchObject({ code: 'unavailable', retryable: true, retryAfter: 1 });
    expect(server.asked).toHaveLength(5);
    const told = lines.map((line) => line.event);
    expect(told.filter((event) => event === 'provider_failure')).toHaveLength(5);
    expect(told.filter((event) => event === 'circuit_open')).toHaveLength(1);
  });

  test('lets one probe through, whose first token closes it', async () => {
    const { backend: far, server, clock } = await opened(hangsAfter(sse(token('a'))), streams());
    clock.advance(750);
    const probe = pull(far, chat, context());
    const first = firstToken(probe);
    const second = await run(pull(far, chat, context()));
    expect(second.thrown).toMatchObject({ code: 'unavailable' });
    expect(await first).toMatchObject({ text: 'a' });
    expect(textOf((await run(pull(far, chat, context()))).events)).toBe('Hello');
    expect(server.asked).toHaveLength(7);
    await probe.return(undefined);
  });

  test('whose client leaves gives its place to the next', async () => {
    const { backend: far, server, clock } = await opened(hangs, streams());
    clock.advance(750);
    const its = context();
    const probe = run(pull(far, chat, its));
    await server.nth(6);
    its.abort(new Error('gone'));
    await probe;
    expect(textOf((await run(pull(far, chat, context()))).events)).toBe('Hello');
  });

  test.each([
    ['is only busy', refuses(503, {}, { 'retry-after': '1' })],
    ['cannot take such requests', refuses(500, { error: { message: 'image input is not supported' } })],
    ['has a smaller context', refuses(400, { error: { code: 'context_length_exceeded' } })],
  ])('does not open for a server that %s', async (_, answer) => {
    const server = await answering(answer);
    const { backend: far } = backend(server.url);
    for (let count = 0; count < 6; count += 1) await run(pull(far, chat, context()));
    expect(server.asked).toHaveLength(6);
    expect(far.status().ready).toBe(true);
  });
});

describe('stopping', () => {
  test('lets a reply finish and takes no new one', async () => {
    const { far, events, asked } = await begun();
    const stopped = far.stop(30_000);
    expect((await run(pull(far, chat, context()))).thrown).toMatchObject({ code: 'draining' });
    expect(far.status().ready).toBe(false);
    asked.response.end(sse(finish(), '[DONE]'));
    expect((await run(events)).events.map((event) => event.type)).toEqual(['finish', 'usage']);
    await stopped;
  });

  test('ends a reply when the grace is over', async () => {
    const { far, clock, events, asked } = await begun();
    const stopped = far.stop(5_000);
    const rest = run(events);
    clock.advance(5_000);
    expect((await rest).thrown).toMatchObject({ code: 'draining' });
    await stopped;
    await asked.closed;
  });
});

describe('proxies', () => {
  test('of the environment are not used', async () => {
    const server = await answering(streams());
    const proxy = await deadUrl();
    const before = { ...process.env };
    Object.assign(process.env, { HTTP_PROXY: proxy, http_proxy: proxy, ALL_PROXY: proxy });
    try {
      const { events } = await run(pull(backend(server.url).backend, chat, context()));
      expect(textOf(events)).toBe('Hello');
    } finally {
      process.env = before;
    }
  });

  test('are used where one is configured', async () => {
    const server = await answering(streams(WHOLE));
    const { hostname, port } = new URL(server.url);
    const tunnels: string[] = [];
    const proxy = createServer().on('connect', (request, socket) => {
      tunnels.push(request.url!);
      const onward = connect(Number(port), hostname, () => {
        socket.write('HTTP/1.1 200 Connection Established\r\n\r\n');
        socket.pipe(onward).pipe(socket);
      });
      onward.on('error', () => socket.destroy());
      socket.on('error', () => onward.destroy());
    });
    const { backend: far } = backend(server.url, { proxy: await serve(proxy) });
    const { events } = await run(pull(far, chat, context()));
    expect(textOf(events)).toBe('Hello');
    expect(tunnels).toEqual([`${hostname}:${port}`]);
    await far.stop(0);
  });
});
