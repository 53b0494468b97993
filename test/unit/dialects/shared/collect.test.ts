import type { GenerateEvent } from '../../../../src/contract.js';
import { collect } from '../../../../src/dialects/shared/collect.js';

const mebi = 'x'.repeat(1024 * 1024);

async function* repeated(event: GenerateEvent, count: number): AsyncGenerator<GenerateEvent> {
  for (let number = 0; number < count; number += 1) yield event;
}

const alternatives = Array.from({ length: 20 }, () => ({ token: 'b', logprob: 0 }));
const logprobs = Array.from({ length: 1_000 }, () => ({
  token: 'a',
  logprob: 0,
  top_logprobs: alternatives,
}));

test.each<[string, GenerateEvent, number]>([
  ['text', { type: 'text', index: 0, text: mebi }, 16],
  ['reasoning', { type: 'reasoning', index: 1, text: mebi }, 16],
  ['arguments', { type: 'tool_call', index: 0, call: { index: 0, arguments: mebi } }, 16],
  ['log probabilities', { type: 'text', index: 0, text: '', logprobs }, 12],
])('%s of more than 16 Mi characters is an error', async (_, event, most) => {
  await expect(collect(repeated(event, most), 2)).resolves.toBeDefined();
  await expect(collect(repeated(event, Infinity), 2)).rejects.toMatchObject({ code: 'generation_failed' });
});
