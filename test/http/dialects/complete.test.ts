import type { FinishReason, ReplyEvent } from '../../../src/contract.js';
import { ERRORS, LMServError, type ErrorCode } from '../../../src/errors.js';
import { events, failing, playing, post, saying } from '../../support/app.js';
import { lines } from '../../support/exchange.js';

const messages = [{ role: 'user', content: 'Hello' }];
const asked = { model: 'quality', messages, tenant_id: 'acme' };
const tools = [{ type: 'function', function: { name: 'weather', parameters: { type: 'object' } } }];

const calling: ReplyEvent[] = [
  { type: 'text', index: 0, text: 'Let me look.' },
  { type: 'tool_call', index: 0, call: { index: 0, id: 'call_1', name: 'weather', arguments: '{"city":' } },
  { type: 'tool_call', index: 0, call: { index: 0, arguments: '"Lima"}' } },
  { type: 'finish', index: 0, reason: 'tool_calls' },
  { type: 'usage', usage: { promptTokens: 9, completionTokens: 4, cachedTokens: 0 } },
];

/** Failures that mean: nobody could answer. */
const UNAVAILABLE = (Object.keys(ERRORS) as ErrorCode[]).filter(
  (code) =>
    code === 'model_not_found' ||
    code === 'provider_rate_limited' ||
    (ERRORS[code].status >= 500 && code !== 'internal_error'),
);

describe('POST /complete', () => {
  test('replies with the text, the requested model and the real usage', async () => {
    const generate = saying('Hi', ' there');
    const response = await post('/complete', asked, { generate }).expect(200);
    expect(response.body).toEqual({
      content: 'Hi there',
      model: 'quality',
      usage: { prompt_tokens: 7, completion_tokens: 2 },
      tool_calls: [],
      finish_reason: 'stop',
    });
    expect(generate.requests[0]).toEqual({
      kind: 'chat',
      n: 1,
      model: 'quality',
      body: { messages },
      tenant: 'acme',
    });
  });

  test('replies with tool calls only, in OpenAI’s form', async () => {
    const generate = playing(calling);
    const response = await post('/complete', { ...asked, tools }, { generate }).expect(200);
    expect(response.body).toEqual({
      content: '',
      model: 'quality',
      usage: { prompt_tokens: 9, completion_tokens: 4 },
      tool_calls: [
        { id: 'call_1', type: 'function', function: { name: 'weather', arguments: '{"city":"Lima"}' } },
      ],
      finish_reason: 'tool_calls',
    });
    expect(generate.requests[0]!.body).toEqual({ messages, tools });
  });

  test('leaves out reasoning and says when there is no text after it', async () => {
    const response = await post('/complete', asked, {
      generate: playing([
        { type: 'reasoning', index: 0, text: 'Hmm' },
        { type: 'finish', index: 0, reason: 'length' },
      ]),
    });
    expect(response.body).toMatchObject({ content: '', tool_calls: [], finish_reason: 'length' });
  });

  test('accepts the other fields of chat completions, but only one choice', async () => {
    const generate = saying('x');
    await post(
      '/complete',
      { ...asked, max_tokens: 5, n: 3, stream: true, tools: null },
      { generate },
    ).expect(200);
    expect(generate.requests[0]).toMatchObject({ n: 1, body: { messages, max_tokens: 5 } });
  });

  test('without tenant_id charges the key’s own tenant', async () => {
    const generate = saying('x');
    await post('/complete', { model: 'fast', messages, tenant_id: null }, { generate }).expect(200);
    expect(generate.requests[0]!.tenant).toBeUndefined();
  });

  test.each(UNAVAILABLE)('%s is 503 and the one sentence that its clients know', async (code) => {
    const response = await post('/complete', asked, {
      generate: failing(new LMServError(code, 'inner')),
    }).expect(503);
    expect(response.body).toEqual({ error: 'All providers unavailable' });
  });

  test('a failure during the reply is an error without text', async () => {
    const broken = failing(new LMServError('generation_failed'), events('Hi')[1]!);
    const response = await post('/complete', asked, { generate: broken }).expect(503);
    expect(response.body).toEqual({ error: 'All providers unavailable' });
  });

  test('a used-up budget is 429 budget_exceeded', async () => {
    const response = await post('/complete', asked, {
      generate: failing(new LMServError('budget_exceeded')),
    }).expect(429);
    expect(response.body.error).toMatchObject({ code: 'budget_exceeded', type: 'insufficient_quota' });
  });

  test('an internal error is 500, not an unavailable provider', async () => {
    const response = await post('/complete', asked, { generate: failing(new TypeError('secret')) }).expect(
      500,
    );
    expect(response.body.error).toEqual({
      message: 'Internal error',
      type: 'server_error',
      param: null,
      code: 'internal_error',
    });
  });
});

describe.each(['/complete', '/complete/stream'])('a body that is wrong, %s', (path) => {
  test.each([
    ['model', { messages }],
    ['messages', { model: 'fast' }],
    ['messages', { model: 'fast', messages: [] }],
    ['messages.0.role', { model: 'fast', messages: [{ role: 'wizard', content: 'x' }] }],
    ['tenant_id', { ...asked, tenant_id: 7 }],
    ['tenant_id', { ...asked, tenant_id: '' }],
    ['tools.0.function.name', { ...asked, tools: [{ type: 'function', function: { name: 'a b' } }] }],
  ])('%s is 400 in OpenAI’s form', async (param, body) => {
    const response = await post(path, body).expect(400);
    expect(response.body.error).toMatchObject({
      type: 'invalid_request_error',
      code: 'invalid_value',
      param,
    });
  });
});

describe('POST /complete/stream', () => {
  test('sends a line for each piece of text, then done', async () => {
    const generate = saying('Hi', ' there\n');
    const response = await post('/complete/stream', asked, { generate }).expect(200);
    expect(response.headers['content-type']).toBe('application/x-ndjson');
    expect(lines(response)).toEqual([
      { type: 'chunk', text: 'Hi' },
      { type: 'chunk', text: ' there\n' },
      { type: 'done' },
    ]);
    expect(generate.requests[0]).toMatchObject({ model: 'quality', tenant: 'acme', body: { messages } });
  });

  test.each<FinishReason>(['length', 'content_filter'])(
    'has the finish reason %s in its last line',
    async (reason) => {
      const response = await post('/complete/stream', asked, {
        generate: playing([{ type: 'finish', index: 0, reason }]),
      });
      expect(lines(response)).toEqual([{ type: 'done', finish_reason: reason }]);
    },
  );

  test('leaves out reasoning', async () => {
    const thinking = playing([{ type: 'reasoning', index: 0, text: 'Hmm' }, ...events('Hi')]);
    const response = await post('/complete/stream', asked, { generate: thinking });
    expect(lines(response)).toEqual([{ type: 'chunk', text: 'Hi' }, { type: 'done' }]);
  });

  test.each(UNAVAILABLE)('%s before the first token is an error line with status 200', async (code) => {
    const response = await post('/complete/stream', asked, {
      generate: failing(new LMServError(code, 'inner')),
    }).expect(200);
    expect(response.headers['content-type']).toBe('application/x-ndjson');
    expect(lines(response)).toEqual([{ type: 'error', message: 'All providers unavailable' }]);
  });

  test('a failure during the stream ends with an error line and no done', async () => {
    const broken = failing(new LMServError('generation_failed'), ...events('Hi').slice(0, 2));
    const response = await post('/complete/stream', asked, { generate: broken }).expect(200);
    expect(lines(response)).toEqual([
      { type: 'chunk', text: 'Hi' },
      { type: 'error', message: 'All providers unavailable' },
    ]);
  });

  test('a client error keeps its message and code', async () => {
    const response = await post('/complete/stream', asked, {
      generate: failing(new LMServError('budget_exceeded')),
    });
    expect(lines(response)).toEqual([
      { type: 'error', message: ERRORS.budget_exceeded.message, code: 'budget_exceeded' },
    ]);
  });

  test('refuses tools, but accepts an empty list', async () => {
    const response = await post('/complete/stream', { ...asked, tools }).expect(400);
    expect(response.body.error.param).toBe('tools');
    await post('/complete/stream', { ...asked, tools: [] }).expect(200);
  });
});
