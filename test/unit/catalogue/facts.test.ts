import { fileFacts, unloadedFacts } from '../../../src/catalogue/facts.js';
import { parseGguf } from '../../../src/install/models/gguf.js';
import { MODEL } from '../doctor/fakes.js';
import { gguf, type Entry } from '../doctor/gguf-bytes.js';

/** Of a model of 4 layers of 2 cached heads of 8 numbers. */
const factsOf = (entries: readonly Entry[]) => fileFacts(parseGguf(gguf(entries, { tensors: [0, 64] }))!);
const without = (...keys: string[]) => MODEL.filter(([key]) => !keys.includes(key));

test('a header tells what is needed to serve its model', () => {
  const entries: Entry[] = [
    ...MODEL,
    ['general.file_type', 'u32', 15],
    ['llama.feed_forward_length', 'u32', 96],
    ['tokenizer.ggml.tokens', 'strings', ['a', 'b']],
  ];
  expect(factsOf(entries)).toEqual({
    ...{ architecture: 'llama', name: 'Tiny', trainedContext: 2048, chatTemplate: true },
    ...{ quantization: 'Q4_K - Medium', parameters: 2, keys: 64, values: 64 },
    ...{ heads: 4, embedding: 32, feedForward: 96, vocabulary: 2 },
  });
});

test('heads may be counted for each layer, and keys and values may have lengths of their own', () => {
  const facts = factsOf([
    ...without('llama.attention.head_count_kv'),
    ['llama.attention.head_count_kv', 'u32s', [2, 0, 1, 0]],
    ['llama.attention.key_length', 'u32', 16],
    ['llama.attention.value_length', 'u32', 4],
    ['llama.feed_forward_length', 'u32s', [96, 128]],
  ]);
  expect(facts).toMatchObject({ keys: 3 * 16, values: 3 * 4, feedForward: 128 });
});

test('without a count of cached heads there are as many as heads', () => {
  expect(factsOf(without('llama.attention.head_count_kv'))).toMatchObject({ keys: 128, values: 128 });
});

test('a header without fields gives no facts', () => {
  const { chatTemplate, parameters, ...others } = factsOf([]);
  expect([chatTemplate, parameters]).toEqual([false, 2]);
  expect(Object.entries(others).filter(([, value]) => value !== undefined)).toEqual([]);
});

test('a text where a number belongs is no fact', () => {
  const facts = factsOf([...without('llama.block_count'), ['llama.block_count', 'string', 'many']]);
  expect(facts).toMatchObject({ keys: undefined, values: undefined });
});

test('what is known of a model before it is loaded', () => {
  const facts = factsOf([...MODEL, ['general.file_type', 'u32', 7]]);
  const known = { contextLength: 512, sizeBytes: 1000, quantization: 'Q8_0', parameters: 2 };
  expect(unloadedFacts(facts, 1000, { context: 512, extraArgs: [] })).toEqual({
    capabilities: ['chat', 'completion'],
    ...known,
  });
  const imagesOf = (model: { mmproj?: string; extraArgs: string[] }) =>
    unloadedFacts(facts, 1000, { context: 512, ...model }).capabilities.includes('images');
  expect(imagesOf({ mmproj: '/p.gguf', extraArgs: [] })).toBe(true);
  expect(imagesOf({ extraArgs: ['--mmproj', '/p.gguf'] })).toBe(true);
  expect(imagesOf({ extraArgs: ['--no-mmproj', '--mmproj-offload'] })).toBe(false);
});
