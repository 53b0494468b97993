import { ReplyReader } from '../../../../src/backends/remote/reply-reader.js';

const reader = () => new ReplyReader({ name: 'far', clean: (text) => text, hasKey: false });
const read = (made: ReplyReader, ...chunks: unknown[]) =>
  chunks.flatMap((chunk) => made.read(JSON.stringify(chunk)));

test('usage that comes with every chunk is told once, the last one', () => {
  const made = reader();
  const events = read(
    made,
    { choices: [{ delta: { content: 'a' } }], usage: { prompt_tokens: 3, completion_tokens: 1 } },
    { choices: [{ delta: {}, finish_reason: 'stop' }], usage: { prompt_tokens: 3, completion_tokens: 2 } },
  );
  expect(events.map((event) => event.type)).toEqual(['text', 'finish']);
  expect(made.usage()).toEqual({
    type: 'usage',
    usage: { promptTokens: 3, completionTokens: 2, cachedTokens: 0 },
  });
});

test('a second finish and text after the first are dropped', () => {
  const events = read(
    reader(),
    { choices: [{ delta: { content: 'a' }, finish_reason: 'length' }] },
    { choices: [{ delta: { content: 'b' }, finish_reason: 'stop' }] },
  );
  expect(events).toEqual([
    { type: 'text', index: 0, text: 'a' },
    { type: 'finish', index: 0, reason: 'length' },
  ]);
});

test('reasoning and tool calls are tokens', () => {
  const made = reader();
  expect(made.begun).toBe(false);
  read(
    made,
    { choices: [{ delta: { reasoning: 'hm' } }] },
    {
      choices: [{ delta: { tool_calls: [{ index: 0, id: 'c', function: { name: 'f', arguments: '{' } }] } }],
    },
  );
  expect(made.begun).toBe(true);
  expect(made.usage()).toMatchObject({ usage: { completionTokens: 2 } });
});

test('prefill progress tells the prompt’s tokens where no usage does', () => {
  const made = reader();
  expect(read(made, { prompt_progress: { total: 12 }, choices: [] })).toEqual([
    { type: 'prefill', promptTokens: 12 },
  ]);
  expect(made.usage()).toMatchObject({ usage: { promptTokens: 12, completionTokens: 0 } });
});

test.each([
  { choices: [{ delta: { tool_calls: [{ index: 'x' }] } }] },
  { choices: [{ delta: { tool_calls: 5 } }] },
  { choices: [{ delta: { content: [{ type: 'text' }] } }] },
  { usage: { prompt_tokens: -1, completion_tokens: 1e99 } },
  { prompt_progress: { total: 'many' } },
])('%j is no chunk', (chunk) => {
  expect(() => read(reader(), chunk)).toThrow('The provider far sent what is no chunk of a reply');
});
