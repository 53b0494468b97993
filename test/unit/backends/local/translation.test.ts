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

  test('no form next to tools that may be called, because it would keep them from being called', () => {
    const form = { response_format: { type: 'json_object' } };
    const tools = [tool('f')];
    expect(chat({ ...form, tools })).not.toHaveProperty('response_format');
    expect(chat({ ...form, tools, tool_choice: 'auto' })).not.toHaveProperty('response_format');
    expect(chat({ ...form, tools, tool_choice: 'none' })).toMatchObject(form);
    expect(chat(form)).toMatchObject(form);
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

  test('the stop string that ends a reply is asked for, unless the prompt that comes with it is too long', () => {
    expect(chat({ stop: ['END'] })).toMatchObject({ stop: ['END'], verbose: true });
    expect(chat({})).not.toHaveProperty('verbose');
    const long = { role: 'user', content: 'x'.repeat(500_000) };
    expect(chat({ stop: ['END'], messages: [long] })).not.toHaveProperty('verbose');
  });

  test('a raw prompt goes to the raw route', () => {
    const { path, body } = toChildRequest({ kind: 'raw', n: 1, body: { prompt: 'x' } });
    expect(path).toBe('/v1/completions');
    expect(body).toMatchObject({ prompt: 'x' });
  });
});
