import type { Choice } from '../../../../src/dialects/shared/collect.js';
import { jsonReply } from '../../../../src/dialects/shared/json-reply.js';

const choice = (text: string, finishReason: Choice['finishReason'] = 'stop'): Choice => ({
  ...{ text, finishReason, reasoning: '', reasoningTokens: 0, logprobs: [], toolCalls: [] },
});

test.each([['{"a":1}'], [' \n{"a":1}\n'], ['```json\n{"a":1}\n```'], ['\n```\n{"a":1}```\n']])(
  'reads %j',
  (text) => {
    expect(jsonReply(choice(text))).toEqual({ a: 1 });
  },
);

test.each(['', 'no', '```', '``````', '```json', 'Here: {"a":1}', '{"a":1} {"b":2}'])(
  'refuses %j',
  (text) => {
    expect(() => jsonReply(choice(text))).toThrow(expect.objectContaining({ code: 'invalid_response' }));
  },
);

test('the error mentions max_tokens only when the reply was cut', () => {
  expect(() => jsonReply(choice('{"a"', 'length'))).toThrow('cut at max_tokens');
  expect(() => jsonReply(choice('{"a"'))).toThrow(/valid JSON$/);
});
