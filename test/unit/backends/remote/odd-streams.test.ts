/** Streams as real servers send them: what is whole is read, what is cut or unknown is an error. */

import type { ReplyEvent } from '../../../../src/contract.js';
import { answered, finish, role, sse, token, type Answer } from './helpers.js';

const JSON_TYPE = 'application/json';

const sends =
  (text: string | Buffer, type: string | undefined = 'text/event-stream', status = 200): Answer =>
  ({ response }) =>
    response.writeHead(status, type === undefined ? {} : { 'content-type': type }).end(text);

/** A reply in short: its reasoning in brackets, its text, its calls and its finish reason. */
function told(events: readonly ReplyEvent[]): string {
  const parts = events.map((event) => {
    switch (event.type) {
      case 'reasoning':
        return `[${event.text}]`;
      case 'text':
        return event.text;
      case 'tool_call':
        return `${event.call.name ?? ''}(${event.call.arguments ?? ''})`;
      case 'finish':
        return ` ${event.reason}`;
      default:
        return '';
    }
  });
  return parts.join('');
}

const HELLO = [token('Hello'), token(' world.')];
const WHOLE = sse(...HELLO, finish(), '[DONE]');
const saying = (delta: object, finish_reason?: null) => ({
  choices: [{ delta, logprobs: null, finish_reason }],
});
const NULLS = { tool_calls: null, refusal: null, function_call: null };
const THOUGHT = { type: 'thinking', thinking: [{ type: 'text', text: 'hm' }] };
const calls = (...tool_calls: unknown[]) => saying({ tool_calls });
const call = { index: 0, id: 'a', function: { name: 'f', arguments: '{"a":1}' } };
const completion = (message: object, finish_reason: unknown = 'stop') => ({
  id: 'x',
  object: 'chat.completion',
  choices: [{ index: 0, message: { role: 'assistant', ...message }, finish_reason }],
  usage: { prompt_tokens: 7, completion_tokens: 2 },
});
const json = (value: unknown) => JSON.stringify(value);

describe('a whole reply', () => {
  test.each<[string, Answer, string?]>([
    ['whose [DONE] has no finish reason before it', sends(sse(...HELLO, '[DONE]'))],
    ['of calls without a finish reason', sends(sse(calls(call), '[DONE]')), 'f({"a":1}) tool_calls'],
    ['without [DONE]', sends(sse(...HELLO, finish()))],
    ['with a reason of Anthropic’s', sends(sse(...HELLO, finish('max_tokens'))), 'Hello world. length'],
    [
      'with a reason in each chunk',
      sends(
        sse(
          ...HELLO.map((chunk) => ({ choices: [{ ...chunk.choices[0], finish_reason: 'stop' }] })),
          '[DONE]',
        ),
      ),
    ],
    ['whose last event has no blank line', sends(WHOLE.slice(0, -2))],
    ['whose last event has no line end', sends(sse(...HELLO, finish()).slice(0, -2))],
    ['with empty data', sends(`data:\n\n${sse(HELLO[0])}data: \n\ndata:   \n\n${sse(HELLO[1], finish())}`)],
    ['with data without a space', sends(WHOLE.replaceAll('data: ', 'data:'))],
    ['with [DONE] and blanks', sends(`${sse(...HELLO, finish())}data:  [DONE] \n\n`)],
    ['with comments', sends(`: OPENROUTER PROCESSING\n\n${WHOLE.replaceAll('data', ':\ndata')}`)],
    ['with lines that end with CR LF', sends(WHOLE.replaceAll('\n', '\r\n'))],
    ['with lines that end with CR', sends(WHOLE.replaceAll('\n', '\r'))],
    ['with a byte order mark', sends(`\ufeff${WHOLE}`)],
    ['with blank lines before it', sends(`\n\r\n \n${WHOLE}`)],
    ['with ids and retry times', sends(`retry: 5\n\n${WHOLE.replaceAll('data', 'id: 7\ndata')}`)],
    ['with event types', sends(WHOLE.replaceAll('data', 'event: message\ndata'))],
    ['with pings that have data', sends(`event: ping\ndata: {"type":"ping","message":"x"}\n\n${WHOLE}`)],
    ['with pings in plain text', sends(`event: heartbeat\ndata: x\n\n${sse('ping')}${WHOLE}`)],
    [
      'with chunks that keep it alive',
      sends(sse(role, role, { choices: [] }, { choices: null }, {}) + WHOLE),
    ],
    ['with Azure’s first chunk', sends(sse({ choices: [], prompt_filter_results: [] }) + WHOLE)],
    [
      'with null for what is not there',
      sends(
        sse(
          { ...saying({ content: 'Hello', ...NULLS }, null), usage: null, error: null },
          HELLO[1],
          finish(),
        ),
      ),
    ],
    [
      'with two finish reasons',
      sends(sse(...HELLO, finish('length'), finish('stop'), '[DONE]')),
      'Hello world. length',
    ],
    ['without a content type', sends(WHOLE, undefined)],
    ['as plain text', sends(WHOLE, 'text/plain; charset=utf-8')],
    ['as JSON, though it is a stream', sends(WHOLE, JSON_TYPE)],
    ['with status 201', sends(WHOLE, undefined, 201)],
    ['in one piece', sends(json(completion({ content: 'Hello world.' })), JSON_TYPE)],
    ['in one piece, as an event stream', sends(json(completion({ content: 'Hello world.' })))],
    [
      'in one piece, laid out and with a mark',
      sends(`\ufeff\n${JSON.stringify(completion({ content: 'Hello world.' }), null, 2)}\n`, JSON_TYPE),
    ],
    [
      'in one piece without a finish reason',
      sends(json(completion({ content: 'Hello world.' }, null)), JSON_TYPE),
    ],
    [
      'in one piece with reasoning and calls',
      sends(json(completion({ content: null, reasoning_content: 'hm', tool_calls: [call] })), JSON_TYPE),
      '[hm]f({"a":1}) tool_calls',
    ],
    ['in one event', sends(sse(completion({ content: 'Hello world.' }), '[DONE]'))],
    [
      'of calls in messages',
      sends(sse({ choices: [{ message: { tool_calls: [call] } }] }, finish('stop'), '[DONE]')),
      'f({"a":1}) tool_calls',
    ],
    [
      'of older function calls',
      sends(
        sse(
          saying({ function_call: { name: 'f', arguments: '{"a"' } }),
          saying({ function_call: { arguments: ':1}' } }),
          finish('function_call'),
          '[DONE]',
        ),
      ),
      'f({"a")(:1}) tool_calls',
    ],
    [
      'of calls with finish reason stop',
      sends(sse(calls(call), finish('stop'), '[DONE]')),
      'f({"a":1}) tool_calls',
    ],
    [
      'of Mistral’s parts',
      sends(sse(saying({ content: [THOUGHT, { type: 'text', text: 'Hello' }] }), HELLO[1], finish())),
      '[hm]Hello world. stop',
    ],
    ['with an error after its end', sends(sse(...HELLO, finish(), { error: { message: 'too late' } }))],
  ])('%s', async (_, answer, expected = 'Hello world. stop') => {
    const { events, thrown, far } = await answered(answer);
    expect(thrown).toBeUndefined();
    expect(told(events)).toBe(expected);
    expect(far.status().ready).toBe(true);
  });

  test('with lines of every kind is the same however it is cut', async () => {
    const bytes = Buffer.from(`\ufeff\r${WHOLE.replace('\n\n', '\r\r').replace('\n\n', '\r\n\r\n')}`);
    for (let at = 1; at < 12; at += 1) {
      const { events } = await answered(({ response }) => {
        response.writeHead(200);
        const piece = (from: number): void => {
          if (from >= bytes.length) response.end();
          else response.write(bytes.subarray(from, from + at), () => piece(from + at));
        };
        piece(0);
      });
      expect(told(events)).toBe('Hello world. stop');
    }
  });

  test('in one piece has its usage', async () => {
    const { events } = await answered(sends(json(completion({ content: 'Hello' })), JSON_TYPE));
    expect(events.at(-1)).toEqual({
      type: 'usage',
      usage: { promptTokens: 7, completionTokens: 2, cachedTokens: 0 },
    });
  });
});

describe('a reply that is not whole is an error', () => {
  const OOM = 'out of memory';
  const ENDED = 'ended its reply before it was finished';
  const cut: Answer = ({ response }) => {
    response.writeHead(200, { 'content-length': 10_000 }).write(sse(...HELLO), () => response.destroy());
  };

  test.each<[string, Answer, string, string]>([
    [
      'unknown finish reason after text',
      sends(sse(...HELLO, finish('abort'), '[DONE]')),
      'Hello world.',
      'broke off its reply with a finish reason "abort"',
    ],
    [
      'unknown finish reason alone',
      sends(sse(finish('insufficient_system_resource'), '[DONE]')),
      '',
      '"insufficient_system_resource"',
    ],
    [
      'unknown finish reason in one piece',
      sends(json(completion({ content: 'Hello' }, 'cancelled')), JSON_TYPE),
      '',
      '"cancelled"',
    ],
    ['end without [DONE] and reason', sends(sse(...HELLO)), 'Hello world.', ENDED],
    [
      'end with usage alone',
      sends(sse(...HELLO, { choices: [], usage: { prompt_tokens: 1, completion_tokens: 2 } })),
      'Hello world.',
      ENDED,
    ],
    ['cut', cut, 'Hello world.', 'broke off its reply'],
    [
      'cut within an event',
      sends(sse(...HELLO, finish()).slice(0, -20)),
      'Hello world.',
      'sent something that is not part of a reply',
    ],
    ['[DONE] alone', sends(sse('[DONE]')), '', ENDED],
    [
      '[DONE] after half a call',
      sends(sse(calls({ ...call, function: { name: 'f', arguments: '{"a"' } }), '[DONE]')),
      'f({"a")',
      ENDED,
    ],
    [
      '[DONE] after thoughts alone',
      sends(sse({ choices: [{ delta: { reasoning: 'hm' } }] }, '[DONE]')),
      '[hm]',
      ENDED,
    ],
    [
      'part of an unknown type',
      sends(sse(token('a'), { choices: [{ delta: { content: [{ type: 'image_url' }] } }] }, '[DONE]')),
      'a',
      'sent content of a type that is not known here, "image_url"',
    ],
    [
      'web page',
      sends('\n<!DOCTYPE html><html>welcome</html>', 'text/html'),
      '',
      'sent a web page instead of a reply; check its baseUrl',
    ],
    ['empty body', sends('', JSON_TYPE), '', ENDED],
    ['204', sends('', undefined, 204), '', ENDED],
    ['empty object', sends('{}', JSON_TYPE), '', ENDED],
    [
      'half a JSON text',
      sends('{"choices":[{"message":{"content":"Hel', JSON_TYPE),
      '',
      'sent something that is not part of a reply',
    ],
    ['plain text', sends('The model is loading', 'text/plain'), '', ENDED],
    [
      'error event',
      sends(`${sse(token('a'))}event: error\ndata: {"code":"x"}\n\n${sse('[DONE]')}`),
      'a',
      'broke off its reply',
    ],
    [
      'error event in plain text',
      sends(`${sse(token('a'))}event: error\ndata: out of memory\n\n`),
      'a',
      'broke off its reply: out of memory',
    ],
    ['error without words', sends(sse(token('a'), { type: 'error' }, '[DONE]')), 'a', 'broke off its reply'],
    [
      'Cloudflare’s error',
      sends(json({ success: false, errors: [{ message: 'out of memory' }] }), JSON_TYPE),
      '',
      'broke off its reply: out of memory',
    ],
    [
      'MiniMax’s error',
      sends(
        json({ choices: null, base_resp: { status_code: 1013, status_msg: 'out of memory' } }),
        JSON_TYPE,
      ),
      '',
      'broke off its reply: out of memory',
    ],
    ...Object.entries({
      'error as a text': { error: OOM },
      'nested error': { error: { error: { message: OOM } } },
      'error in a choice': { choices: [{ delta: {}, error: { message: OOM } }] },
      'vLLM’s older error': { object: 'error', message: OOM, code: 'x' },
      'FastAPI’s error': { detail: OOM },
    }).map(([title, error]): [string, Answer, string, string] => [
      title,
      sends(sse(token('a'), error, '[DONE]')),
      'a',
      `broke off its reply: ${OOM}`,
    ]),
  ])('%s', async (_, answer, before, message) => {
    const { events, thrown } = await answered(answer);
    expect(told(events)).toBe(before);
    expect(thrown).toMatchObject({ code: 'generation_failed', retryable: true });
    expect((thrown as Error).message).toContain(message);
  });

  test.each<[string, unknown, string, number, string]>([
    [
      'a quota',
      { error: { code: 429, message: 'Upstream is out of quota' } },
      'provider_rate_limited',
      429,
      'The provider far answered 429: Upstream is out of quota',
    ],
    [
      'a limit',
      { error: { code: 'rate_limit_exceeded', message: 'slow down' } },
      'provider_rate_limited',
      429,
      'The provider far answered 429: slow down',
    ],
    [
      'an unknown key',
      { error: { type: 'authentication_error', message: 'no' } },
      'configuration_error',
      500,
      'The provider far requires an API key, but none is configured',
    ],
    [
      'a quota as a text',
      { error: { code: '429', message: 'slow down' } },
      'provider_rate_limited',
      429,
      'The provider far answered 429: slow down',
    ],
    [
      'a wrong key',
      [{ error: { code: 401, message: 'no' } }],
      'configuration_error',
      500,
      'The provider far requires an API key, but none is configured',
    ],
    [
      'a server that is down',
      { error: { code: 503, message: 'loading' } },
      'provider_api_error',
      502,
      'The provider far answered 503: loading',
    ],
    [
      'a prompt that is too long',
      { error: { code: 'context_length_exceeded', message: 'too long' } },
      'context_length_exceeded',
      400,
      'too long',
    ],
    [
      'an invalid request',
      { object: 'error', type: 'BadRequestError', message: 'no such voice' },
      'invalid_value',
      400,
      'no such voice',
    ],
  ])(
    '%s reported with status 200 is that error, whole or streamed',
    async (_, body, code, status, message) => {
      for (const answer of [sends(json(body), JSON_TYPE), sends(sse(body, '[DONE]'))]) {
        const { events, thrown } = await answered(answer);
        expect(events).toEqual([]);
        expect(thrown).toMatchObject({ code, status, message });
      }
    },
  );

  test('an unknown reason is named, but not what a server puts in its place', async () => {
    const { thrown, lines } = await answered(sends(sse(token('a'), finish('the secret plan'), '[DONE]')));
    expect((thrown as Error).message).toBe(
      'The provider far broke off its reply with a finish reason of unknown form',
    );
    expect(lines).toMatchObject([{ event: 'provider_failure', reason: (thrown as Error).message }]);
  });
});
