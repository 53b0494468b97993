import { asOnePrompt } from '../../../../src/backends/local/infill.js';
import type { JsonObject } from '../../../../src/contract.js';
import type { Worker } from '../../../../workers/worker.js';

/** A worker whose vocabulary has these tokens, besides those of single characters. */
const knowing = (...tokens: string[]) =>
  ({
    fetch: async (_method: string, _path: string, { content }: { content: string[] }) => ({
      tokens: content
        .flatMap((text) => (tokens.includes(text) ? [text] : [...text]))
        .map((piece) => ({ piece })),
    }),
  }) as unknown as Worker;

const gap = { prompt: 'a', suffix: 'c', max_tokens: 3 };
const onePrompt = (worker: Worker, body: JsonObject = gap) =>
  asOnePrompt(body, worker, new AbortController().signal);

test.each([
  ['<|fim_prefix|>', '<|fim_suffix|>', '<|fim_middle|>'],
  ['<|code_prefix|>', '<|code_suffix|>', '<|code_middle|>'],
])('%s marks the parts of the text', async (before, behind, middle) => {
  const body = await onePrompt(knowing(before, behind, middle));
  expect(body).toEqual({ prompt: `${before}a${behind}c${middle}`, max_tokens: 3 });
});

test('a vocabulary without all of the marks has none', async () => {
  await expect(onePrompt(knowing('<|fim_prefix|>', '<|fim_suffix|>'))).rejects.toMatchObject({
    ...{ code: 'invalid_value', param: 'suffix' },
  });
});
