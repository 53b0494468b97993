import { fileFacts, unloadedFacts, workOf } from '../../../src/catalogue/facts.js';
import type { ModelTask } from '../../../src/contract.js';
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
    ...{ task: 'chat', pooling: undefined },
  });
});

test.each<[string, readonly Entry[], ModelTask]>([
  ['a llama', [], 'chat'],
  ['a BERT', [['general.architecture', 'string', 'bert']], 'embed'],
  ['a llama that pools', [['llama.pooling_type', 'u32', 3]], 'embed'],
  ['a llama that reads in both directions', [['llama.attention.causal', 'bool', false]], 'embed'],
  ['a llama that rates', [['llama.pooling_type', 'u32', 4]], 'rerank'],
])('what %s is for', (_, entries, task) => {
  expect(factsOf([...without(...entries.map(([key]) => key)), ...entries]).task).toBe(task);
});

describe('the work of a model', () => {
  const pooled = (pooling: number | undefined, task: ModelTask = 'embed') => ({
    task,
    pooling,
    trainedContext: 512,
  });

  test.each<[string, number | undefined, 'mean' | undefined, boolean]>([
    ['says nothing about pooling', undefined, 'mean', false],
    ['pools by the mean', 1, undefined, false],
    ['pools by the last token', 3, undefined, true],
    ['rates', 4, 'mean', false],
  ])('that %s and makes embeddings', (_, pooling, option, splits) => {
    const work = workOf(pooled(pooling, 'chat'), { task: 'embed', context: 4096 });
    expect(work).toEqual({ task: 'embed', pooling: option, splits, context: 512 });
  });

  test('that its file does not name is in its configuration', () => {
    expect(workOf(pooled(4, 'rerank'), { context: 100 })).toMatchObject({ task: 'rerank', context: 100 });
    expect(workOf(pooled(4, 'rerank'), { task: 'chat', context: 4096 })).toMatchObject({
      ...{ task: 'chat', context: 4096, splits: true },
    });
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
  const { chatTemplate, parameters, task, ...others } = factsOf([]);
  expect([chatTemplate, parameters, task]).toEqual([false, 2, 'chat']);
  expect(Object.entries(others).filter(([, value]) => value !== undefined)).toEqual([]);
});

test('a text where a number belongs is no fact', () => {
  const facts = factsOf([...without('llama.block_count'), ['llama.block_count', 'string', 'many']]);
  expect(facts).toMatchObject({ keys: undefined, values: undefined });
});

test('what is known of a model before it is loaded', () => {
  const facts = factsOf([...MODEL, ['general.file_type', 'u32', 7]]);
  const known = { contextLength: 512, sizeBytes: 1000, quantization: 'Q8_0', parameters: 2 };
  const chat = { task: 'chat', context: 512 } as const;
  expect(unloadedFacts(facts, 1000, chat, { extraArgs: [] })).toEqual({
    ...{ capabilities: ['chat', 'completion'], architecture: 'llama' },
    ...known,
  });
  const imagesOf = (model: { mmproj?: string; extraArgs: string[] }) =>
    unloadedFacts(facts, 1000, chat, model).capabilities.includes('images');
  expect(imagesOf({ mmproj: '/p.gguf', extraArgs: [] })).toBe(true);
  expect(imagesOf({ extraArgs: ['--mmproj', '/p.gguf'] })).toBe(true);
  expect(imagesOf({ extraArgs: ['--no-mmproj', '--mmproj-offload'] })).toBe(false);
});
