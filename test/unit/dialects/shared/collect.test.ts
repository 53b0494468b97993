import type { ReplyEvent } from '../../../../src/contract.js';
import { Collector } from '../../../../src/dialects/shared/collect.js';

const mebi = 'x'.repeat(1024 * 1024);

function collect(event: ReplyEvent, count: number): void {
  const collector = new Collector(2);
  for (let number = 0; number < count; number += 1) collector.event(event);
}

const alternatives = Array.from({ length: 20 }, () => ({ token: 'b', logprob: 0 }));
const logprobs = Array.from({ length: 1_000 }, () => ({
  token: 'a',
  logprob: 0,
  top_logprobs: alternatives,
}));

test.each<[string, ReplyEvent, number]>([
  ['text', { type: 'text', index: 0, text: mebi }, 16],
  ['reasoning', { type: 'reasoning', index: 1, text: mebi }, 16],
  ['arguments', { type: 'tool_call', index: 0, call: { index: 0, arguments: mebi } }, 16],
  ['log probabilities', { type: 'text', index: 0, text: '', logprobs }, 12],
])('%s of more than 16 Mi characters is an error', (_, event, max) => {
  expect(() => collect(event, max)).not.toThrow();
  expect(() => collect(event, Infinity)).toThrow(expect.objectContaining({ code: 'generation_failed' }));
});
