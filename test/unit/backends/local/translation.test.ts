import { ChunkReader } from '../../../../src/backends/chunks.js';
import { toChildRequest } from '../../../../src/backends/local/child-request.js';
import type { JsonObject } from '../../../../src/contract.js';

describe('what a child is asked', () => {
  const user = { role: 'user', content: 'hi' };
  const chat = (body: JsonObject) =>
    toChildRequest({ kind: 'chat', n: 1, body: { messages: [user], ...body } }).body;
  const tool = (name: string) => ({ type: 'function', function: { name } });

  test('usage always, pings never', () => {
    expect(chat({ temperature: 0 })).toEqual({
      messages: [user],
      temperature: 0,
      stream_options: { include_usage: true },
      sse_ping_interval: -1,
    });
  });

  test('a tool by name becomes required, with that one alone', () => {
    const body = chat({ tools: [tool('a'), tool('b')], tool_choice: tool('b') });
    expect(body).toMatchObject({ tool_choice: 'required', tools: [tool('b')] });
    expect(chat({ tools: [tool('a')], tool_choice: 'auto' })).toMatchObject({
      tool_choice: 'auto',
      tools: [tool('a')],
    });
  });

  test("a last message of the assistant's is continued without an echo; one with calls is not", () => {
    const given = { role: 'assistant', content: 'Cev' };
    expect(chat({ messages: [user, given] })).toMatchObject({
      continue_final_message: true,
      add_generation_prompt: false,
    });
    expect(chat({ messages: [user, { ...given, tool_calls: [] }] })).not.toHaveProperty(
      'continue_final_message',
    );
  });

  test('a raw prompt goes to the raw route', () => {
    const { path, body } = toChildRequest({ kind: 'raw', n: 1, body: { prompt: 'x' } });
    expect(path).toBe('/v1/completions');
    expect(body).toMatchObject({ prompt: 'x' });
  });
});

describe('what its chunks mean', () => {
  const read = (...chunks: Record<string, unknown>[]) => {
    const reader = new ChunkReader();
    return chunks.flatMap((chunk) => reader.read(chunk));
  };
  const delta = (value: object, finish_reason: string | null = null) => ({
    choices: [{ index: 0, delta: value, finish_reason }],
  });

  test('prefill progress is told once, roles and empty deltas not at all', () => {
    const progress = { prompt_progress: { total: 9, cache: 0, processed: 4 }, choices: [] };
    expect(
      read(progress, progress, delta({ role: 'assistant', content: null }), delta({ content: '' })),
    ).toEqual([{ type: 'prefill', promptTokens: 9 }]);
  });

  test('text, reasoning under both names, finish, usage', () => {
    expect(
      read(
        delta({ reasoning_content: 'a' }),
        delta({ reasoning: 'b' }),
        delta({ content: 'c' }),
        delta({}, 'function_call'),
        {
          choices: [],
          usage: { prompt_tokens: 1, completion_tokens: 2, prompt_tokens_details: { cached_tokens: 3 } },
        },
      ),
    ).toEqual([
      { type: 'reasoning', index: 0, text: 'a' },
      { type: 'reasoning', index: 0, text: 'b' },
      { type: 'text', index: 0, text: 'c' },
      { type: 'finish', index: 0, reason: 'tool_calls' },
      { type: 'usage', usage: { promptTokens: 1, completionTokens: 2, cachedTokens: 3 } },
    ]);
  });

  test('a token that shows nothing still brings its log probability', () => {
    const logprobs = { content: [{ token: '' }] };
    expect(read({ choices: [{ delta: { content: '' }, logprobs }] })).toEqual([
      { type: 'text', index: 0, text: '', logprobs: [{ token: '' }] },
    ]);
  });

  test('a tool call without an id gets one', () => {
    const [first, second] = read(
      delta({ tool_calls: [{ index: 0, id: '', function: { name: 'f', arguments: '' } }] }),
      delta({ tool_calls: [{ index: 0, function: { arguments: '{' } }] }),
    );
    expect(first).toMatchObject({
      call: { index: 0, id: expect.stringMatching(/^call_\w{32}$/), name: 'f' },
    });
    expect(second).toEqual({ type: 'tool_call', index: 0, call: { index: 0, arguments: '{' } });
  });
});
