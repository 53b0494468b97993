import {
  checkCapabilities,
  checkGpuMemory,
  checkMemory,
  checkMemoryLimit,
  checkModel,
  checkModelFiles,
} from '../../../src/doctor/checks/model.js';
import { estimateMemory } from '../../../src/catalogue/estimate.js';
import { ok, type Finding } from '../../../src/doctor/findings.js';
import { needOf } from '../../../src/doctor/needs.js';
import { ModelError } from '../../../src/install/models/spec.js';
import { checkedModel, facts, FILE, having, like, MODEL, testCheck, type Machine } from './fakes.js';
import { gguf, type Entry } from './gguf-bytes.js';

const GB = 1e9;
const PARTS = ['/models/m-00001-of-00002.gguf', '/models/m-00002-of-00002.gguf'] as const;
const memory = (total: number, free: number) => ({ total: total * GB, free: free * GB, limit: undefined });
const without = (key: string, ...more: Entry[]) => gguf([...MODEL.filter(([name]) => name !== key), ...more]);
const serving = (changes: Parameters<typeof checkedModel>[0]) => ({ models: [checkedModel(changes)] });

testCheck('the model', checkModel, [
  [
    'is described',
    { modelSize: 1.5 * GB },
    having('ok', 'Tiny, llama, 1.5 GB, trained with 2048 tokens: /models/tiny.gguf'),
  ],
  [
    'is as large as all its parts',
    {
      paths: Object.fromEntries(PARTS.map((path) => [path, { ...FILE, size: 2 * GB }])),
      server: serving({ path: PARTS[0] }),
    },
    having('ok', like('4.0 GB')),
  ],
  ['of the hub may still be missing', { server: serving({ path: 'hf:org/tiny:Q4_0' }) }, having('warn')],
  [
    'of the hub is looked for in the downloads',
    {
      server: serving({ path: 'hf:org/tiny:Q4_0' }),
      probe: { findDownloaded: async () => '/models/tiny.gguf' },
    },
    having('ok'),
  ],
  [
    'is ok with a context as long as it was trained with',
    { server: serving({ context: 2048 }) },
    having('ok'),
  ],
  [
    'causes a warning when the context is longer than it was trained with',
    { server: serving({ context: 2049 }) },
    having('warn', undefined, like('LLM_CTX_SIZE')),
  ],
  [
    'causes a warning when it has no chat template',
    { header: without('tokenizer.chat_template') },
    having('warn', like('no chat template')),
  ],
  [
    'needs no chat template to make embeddings',
    { header: without('tokenizer.chat_template', ['llama.pooling_type', 'u32', 3]) },
    having('ok'),
  ],
  ['is not needed when only remote servers serve', { server: { models: [] } }, having('ok')],
  ...(
    [
      ['is missing', { server: serving({ path: '/none.gguf' }) }, 'there is no file /none.gguf'],
      [
        'is a folder',
        { paths: { '/models/tiny.gguf': { ...FILE, kind: 'folder' } } },
        'is not a regular file',
      ],
      [
        'may not be read',
        { paths: { '/models/tiny.gguf': { ...FILE, readable: false } } },
        'may not be read',
      ],
      ['is not a GGUF file', { header: Buffer.from('<html>'), modelSize: 6 }, 'tiny.gguf is not a GGUF file'],
      ['ends in its header', { header: gguf(MODEL).subarray(0, 60), modelSize: 60 }, 'ends in the middle'],
      ['ends before its tensors', { header: gguf(MODEL, { tensors: [0, 5000] }), modelSize: 5000 }, 'is cut'],
      ['names no architecture', { header: without('general.architecture') }, 'names no architecture'],
      [
        'is not the first part',
        { server: serving({ path: '/models/m-00002-of-00003.gguf' }) },
        'part 2 of a model',
      ],
      [
        'lacks a part',
        { server: serving({ path: PARTS[0] }), paths: { [PARTS[0]]: FILE } },
        `no file ${PARTS[1]}`,
      ],
      [
        'is not a valid name of the hub',
        {
          probe: { findDownloaded: () => Promise.reject(new ModelError('hf:x: wanted hf:org/repo')) },
          server: serving({ path: 'hf:x' }),
        },
        'wanted hf:org/repo',
      ],
    ] as [string, Machine, string][]
  ).map(([what, machine, found]): [string, Machine, Finding] => [
    `fails when its file ${what}`,
    machine,
    having('fail', like(found), like('npm run model')),
  ]),
]);

const models = [checkedModel({ workers: 3, slots: 2, context: 1000, cacheRamMb: 100 })];
const machine = (total: number, free: number, probe: Machine['probe'] = {}): Machine => ({
  probe: { memory: memory(total, free), ...probe },
  server: { models },
  modelSize: 2 * GB,
});

test('the needed memory is estimated from the file, the workers, the contexts and the prompt cache', async () => {
  const file = await facts(machine(8, 8)).modelFile(models[0]!);
  const { cache, compute } = estimateMemory(file!.facts, 2 * GB, { ...models[0]!, batch: 128 });
  const promptCache = 100 * 2 ** 20;
  const each = cache + compute;
  expect(needOf(models[0]!, file!)).toEqual({
    weights: 2 * GB,
    contexts: 3 * cache,
    promptCache,
    total: 6 * GB + 3 * each + promptCache,
    least: 2 * GB + 3 * each + promptCache,
  });
});

test.each([
  ['ok', 8, 7],
  ['warn', 8, 6],
  ['warn', 4, 3],
  ['fail', 2, 2],
])('memory gives %s with %i GB, of which %i are free', async (level, total, free) => {
  const finding = await checkMemory(facts(machine(total, free)));
  expect(finding.level).toBe(level);
  expect(finding.found).toMatch(/about 6\.2 GB are needed \(weights 2\.0 GB .* are free$/);
});

const onRequest = checkedModel({ workers: 1, context: 1000, isLoadedAtStart: false });

testCheck('memory', checkMemory, [
  [
    'is counted once for models that are loaded on request, for the largest of them',
    { ...machine(8, 5), server: { models: [onRequest, { ...onRequest, workers: 2 }, onRequest] } },
    having('ok', like('about 4.1 GB are needed with the largest of 3 models that are loaded on request')),
  ],
  [
    'is enough when a running LMServ uses it',
    machine(8, 1, { tryListen: async () => 'EADDRINUSE', getText: async () => 'LMServ is running.' }),
    having('ok'),
  ],
  [
    'is shown when no model can be read',
    { server: serving({ path: '/none' }) },
    ok('6.0 GB of 8.0 GB are free'),
  ],
]);

const limited = (limit?: number) => machine(8, 8, { memory: { ...memory(8, 8), limit } });

testCheck('the limit of a control group', checkMemoryLimit, [
  ['is not required', limited(), ok('none')],
  ['is ok above what is needed', limited(7 * GB), having('ok')],
  ['causes a warning below', limited(6 * GB), having('warn', like('6.0 GB for this control group'))],
]);

const gpu = (free: number, changes = {}): Machine => ({
  programs: { '/bin/llama-cli': `Available devices:\n  CUDA0: A GPU (4000 MiB, ${free} MiB free)\n` },
  modelSize: 2 * GB,
  server: serving(changes),
});
const onGpu: Machine = { ...gpu(3000), probe: { memory: memory(1, 0.1) } };

testCheck('memory', checkMemory, [['is not needed for a model on the GPU', onGpu, having('ok')]]);

testCheck('GPU memory', checkGpuMemory, [
  ['is ok when it is enough', onGpu, having('ok', like('about 2.0 GB'))],
  [
    'causes a warning when what is needed is in use',
    gpu(1000),
    having('warn', undefined, like('LLM_WORKERS')),
  ],
  [
    'causes a warning when it is too small',
    gpu(4000, { workers: 3 }),
    having('warn', undefined, like('LLM_WORKERS')),
  ],
  ['is not needed without a GPU', {}, having('ok', 'no GPU in use')],
  ['is not needed without a layer on the GPU', gpu(10, { gpuLayers: 0 }), having('ok', 'no GPU in use')],
]);

const found = (models: object, unusable: { shown: string; reason: string }[] = []): Machine => ({
  probe: { lookAtModels: async ({ file }) => ({ file: { ...file, models: models as never }, unusable }) },
});

testCheck('the files of models', checkModelFiles, [
  ['may be those of the configuration', {}, ok('none but the configured ones')],
  ['that are served are named', found({ a: {}, b: {} }), ok('served on request: a, b')],
  [
    'that are not served are named with the reasons',
    found({ a: {} }, [{ shown: 'x.gguf', reason: 'an adapter' }]),
    ok('served on request: a; not: x.gguf: an adapter'),
  ],
  [
    'are counted when they are many',
    found(Object.fromEntries(Array.from({ length: 23 }, (_, index) => [`m${index}`, {}]))),
    having('ok', like('m19, and 3 more')),
  ],
]);

describe('what a model can do', () => {
  const running = { tryListen: async () => 'EADDRINUSE', getText: async () => 'LMServ is running.' };
  const listed = {
    ...{ id: 'm', state: 'loaded', context_length: 4_096, quantization: 'Q4_0', parameters: 2.5e9 },
    capabilities: ['chat', 'tools'],
  };

  it.each<[string, object, object]>([
    [
      'is shown while LMServ runs',
      {},
      { level: 'ok', found: 'what a model can do is shown while LMServ runs' },
    ],
    [
      'is what a running LMServ says',
      { ...running, getJson: async () => ({ data: [{ id: 'other' }, listed] }) },
      { level: 'ok', found: 'm: loaded; 2.5 billion parameters; Q4_0; 4096 tokens; chat, tools' },
    ],
    [
      'is to be looked at for a model that failed',
      { ...running, getJson: async () => ({ data: [{ id: 'm', state: 'failed', context_length: null }] }) },
      { level: 'warn', found: 'm: failed' },
    ],
    [
      'is not known for another key',
      { ...running, getJson: async () => undefined },
      { level: 'ok', found: 'what a model can do is shown while LMServ runs' },
    ],
  ])('%s', async (_, probe, finding) => {
    const found = await checkCapabilities(facts({ server: { models: [checkedModel({ id: 'm' })] }, probe }));
    expect([found].flat()).toEqual([expect.objectContaining(finding)]);
  });
});
