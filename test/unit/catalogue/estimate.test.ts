import { readFileSync } from 'node:fs';
import { estimateMemory, type MemorySettings } from '../../../src/catalogue/estimate.js';
import { fileFacts, type FileFacts } from '../../../src/catalogue/facts.js';
import { DEMO_MODEL } from '../../../src/config/load.js';
import { parseGguf } from '../../../src/install/models/gguf.js';

const MIB = 2 ** 20;

const DEMO = fileFacts(parseGguf(readFileSync(DEMO_MODEL))!);

/** A model of llama's architecture; keys and values are the numbers of a token over all layers. */
const facts = (embedding: number, feedForward: number, cached: number, vocabulary = 2048): FileFacts => ({
  ...DEMO,
  ...{ embedding, feedForward, keys: cached, values: cached, vocabulary, heads: 8 },
});

const WIDE = facts(512, 1536, 8 * 2 * 64);
const MANY_WORDS = facts(256, 1024, 6 * 4 * 64, 151_936);
const LONG_KEYS = facts(256, 768, 4 * 1 * 128);

const settings = (more: Partial<MemorySettings> = {}): MemorySettings => ({
  ...{ workers: 1, slots: 2, context: 4096, batch: 128, extraArgs: [] },
  ...more,
});

/** MiB that `llama-cli -lv 4` of llama.cpp 0.5.0 reported: its cache, and its buffers for computing and output. */
const MEASURED: [title: string, FileFacts, Partial<MemorySettings>, cache: number, buffers: number][] = [
  ['the demo model', DEMO, {}, 20, 1.97],
  ['a context that is rounded up', DEMO, { slots: 1, context: 1000 }, 2.5, 1.21],
  ['large batches', DEMO, { slots: 4, batch: 512 }, 40, 7.82],
  ['a cache of q8_0', DEMO, { extraArgs: ['-ctk', 'q8_0', '-ctv', 'q8_0'] }, 10.62, 1.97],
  ['few cached heads', WIDE, {}, 32, 4.27],
  ['large batches of a wide model', WIDE, { slots: 4, batch: 512 }, 64, 17.04],
  ['a long context', WIDE, { slots: 1, context: 16_384 }, 64, 7.26],
  ['no flash attention', WIDE, { extraArgs: ['-fa', 'off'] }, 32, 19.4],
  ['a large vocabulary', MANY_WORDS, {}, 48, 4.16],
  ['a large vocabulary and large batches', MANY_WORDS, { slots: 4, batch: 512 }, 96, 14.33],
  ['long keys', LONG_KEYS, {}, 16, 2.65],
];

test.each(MEASURED)(
  'the estimate of %s is what llama.cpp took, with a margin',
  (_, model, more, cache, buffers) => {
    const estimate = estimateMemory(model, 0, settings(more));
    expect(estimate.cache / MIB).toBeCloseTo(cache, 1);
    const atLeast = buffers + 32;
    const vocabulary = (model.vocabulary! * 320) / MIB;
    expect(estimate.compute / MIB).toBeGreaterThan(atLeast);
    expect(estimate.compute / MIB - vocabulary).toBeLessThan(32 + 1.3 * buffers + 0.2);
  },
);

/** MiB of memory that such a process took in all, with its file: VmRSS. */
test.each<[string, FileFacts, number, Partial<MemorySettings>, number]>([
  ['the demo model', DEMO, 3.2, {}, 45.6],
  ['the wide model', WIDE, 50.1, {}, 104.8],
  ['the wide model with a long context', WIDE, 50.1, { slots: 1, context: 16_384 }, 137.1],
  ['the model with a large vocabulary', MANY_WORDS, 166.0, {}, 277.4],
  ['the model with a large vocabulary and large batches', MANY_WORDS, 166.0, { slots: 4, batch: 512 }, 326.2],
])(
  'the whole process of %s fits into the estimate, which is at most 32 MiB too high',
  (_, model, mib, more, rss) => {
    const { total } = estimateMemory(model, mib * MIB, settings(more));
    expect(total / MIB).toBeGreaterThan(rss);
    expect(total / MIB).toBeLessThan(rss + 32);
  },
);

test('workers on a CPU share the weights, others do not', () => {
  const estimate = estimateMemory(DEMO, 1000 * MIB, settings({ workers: 3 }));
  const each = estimate.cache + estimate.compute;
  expect(estimate).toMatchObject({
    weights: 1000 * MIB,
    total: 3 * (1000 * MIB + each),
    shared: 1000 * MIB + 3 * each,
  });
});

test('an unknown type of cache counts as the largest, and facts that are missing count nothing', () => {
  const args = (type: string) => settings({ extraArgs: ['--cache-type-k', type] });
  const cache = (type: string) => estimateMemory(DEMO, 0, args(type)).cache;
  expect(cache('new')).toBe(cache('f32'));
  const nothing = fileFacts({ version: 3, fields: new Map(), tensors: 0, parameters: 0, tensorsEnd: 0 });
  expect(estimateMemory(nothing, 7, settings())).toMatchObject({ weights: 7, cache: 0 });
});
