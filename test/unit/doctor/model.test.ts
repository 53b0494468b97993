import { ModelError } from '../../../src/install/models/spec.js';
import {
  checkCapabilities,
  checkGpuMemory,
  checkMemory,
  checkMemoryLimit,
  checkModel,
} from '../../../src/doctor/checks/model.js';
import { needOf } from '../../../src/doctor/model-facts.js';
import { BYTES_PER_TOKEN, checkedModel, facts, FILE, MODEL, only, type Machine } from './fakes.js';
import { gguf } from './gguf-bytes.js';

const GB = 1e9;
const memory = (total: number, free: number, limit?: number) => ({
  total: total * GB,
  free: free * GB,
  limit,
});
const without = (key: string) => gguf(MODEL.filter(([name]) => name !== key));

describe('the model', () => {
  const finding = (machine: Machine) => only(checkModel(facts(machine)));

  it('is described', async () => {
    const { level, found } = await finding({ modelSize: 1.5 * GB });
    expect([level, found]).toEqual([
      'ok',
      'Tiny, llama, 1.5 GB, trained with 2048 tokens: /models/tiny.gguf',
    ]);
  });

  it.each<[string, Machine, RegExp]>([
    [
      'is not there',
      { server: { models: [checkedModel({ path: '/none.gguf' })] } },
      /there is no file \/none.gguf/,
    ],
    ['is a folder', { paths: { '/models/tiny.gguf': { ...FILE, kind: 'folder' } } }, /is not a regular file/],
    ['may not be read', { paths: { '/models/tiny.gguf': { ...FILE, readable: false } } }, /may not be read/],
    ['is not a GGUF file', { header: Buffer.from('<html>'), modelSize: 6 }, /tiny.gguf is not a GGUF file/],
    ['ends in its header', { header: gguf(MODEL).subarray(0, 60), modelSize: 60 }, /ends in the middle/],
    ['ends before its tensors', { header: gguf(MODEL, { tensors: [0, 5000] }), modelSize: 5000 }, /is cut/],
    ['names no architecture', { header: without('general.architecture') }, /names no architecture/],
    [
      'is not the first part',
      { server: { models: [checkedModel({ path: '/models/m-00002-of-00003.gguf' })] } },
      /part 2 of a model/,
    ],
    [
      'lacks a part',
      {
        server: { models: [checkedModel({ path: '/models/m-00001-of-00002.gguf' })] },
        paths: { '/models/m-00001-of-00002.gguf': FILE },
      },
      /no file \/models\/m-00002-of-00002.gguf/,
    ],
    [
      'is named in a way the hub does not know',
      {
        probe: { findDownloaded: () => Promise.reject(new ModelError('hf:x: wanted hf:org/repo')) },
        server: { models: [checkedModel({ path: 'hf:x' })] },
      },
      /wanted hf:org\/repo/,
    ],
  ])('fails when its file %s', async (_what, machine, message) => {
    expect(await finding(machine)).toMatchObject({
      level: 'fail',
      found: expect.stringMatching(message),
      todo: expect.stringContaining('npm run model'),
    });
  });

  it('is all parts of a split one', async () => {
    const part = { ...FILE, size: 2 * GB };
    const paths = { '/models/m-00001-of-00002.gguf': part, '/models/m-00002-of-00002.gguf': part };
    const models = [checkedModel({ path: '/models/m-00001-of-00002.gguf' })];
    expect(await finding({ paths, server: { models } })).toMatchObject({
      level: 'ok',
      found: expect.stringContaining('4.0 GB'),
    });
  });

  it('of the hub is looked for where it was downloaded to', async () => {
    const server = { models: [checkedModel({ path: 'hf:org/tiny:Q4_0' })] };
    expect((await finding({ server })).level).toBe('warn');
    const probe = { findDownloaded: async () => '/models/tiny.gguf' };
    expect((await finding({ server, probe })).level).toBe('ok');
  });

  it('is warned of when the context is longer than it was trained with', async () => {
    const at = (context: number) => finding({ server: { models: [checkedModel({ context })] } });
    expect((await at(2048)).level).toBe('ok');
    expect(await at(2049)).toMatchObject({ level: 'warn', todo: expect.stringContaining('LLM_CTX_SIZE') });
  });

  it('is warned of when it has no chat template', async () => {
    const { level, found } = await finding({ header: without('tokenizer.chat_template') });
    expect([level, found]).toEqual(['warn', expect.stringContaining('no chat template')]);
  });

  it('need not be there where only remote servers serve', async () => {
    expect((await finding({ server: { models: [] } })).level).toBe('ok');
  });
});

describe('memory', () => {
  const models = [checkedModel({ workers: 3, slots: 2, context: 1000, cacheRamMb: 100 })];
  const machine = (total: number, free: number): Machine => ({
    probe: { memory: memory(total, free) },
    server: { models },
    modelSize: 2 * GB,
  });

  it('is estimated from the file, the workers, the contexts and the prompt cache', async () => {
    const file = await facts(machine(8, 8)).modelFile(models[0]!);
    const contexts = 3 * 2 * 1000 * BYTES_PER_TOKEN;
    expect(needOf(models[0]!, file!)).toEqual({
      weights: 2 * GB,
      contexts,
      promptCache: 100 * 2 ** 20,
      total: 6 * GB + contexts + 100 * 2 ** 20,
      least: 2 * GB + contexts + 100 * 2 ** 20,
    });
  });

  it.each([
    ['ok', 8, 7],
    ['warn', 8, 6],
    ['warn', 4, 3],
    ['fail', 2, 2],
  ])('is %s with %i GB, of which %i are free', async (level, total, free) => {
    const finding = await checkMemory(facts(machine(total, free)));
    expect(finding.level).toBe(level);
    expect(finding.found).toMatch(/about 6\.1 GB are needed \(weights 2\.0 GB .* are free$/);
  });

  it('is not short of what a running LMServ took', async () => {
    const taken = { tryListen: async () => 'EADDRINUSE', getText: async () => 'LMServ is running.' };
    const finding = await checkMemory(facts({ ...machine(8, 1), probe: { memory: memory(8, 1), ...taken } }));
    expect(finding.level).toBe('ok');
  });

  it('is shown where no model can be read', async () => {
    expect(await checkMemory(facts({ server: { models: [checkedModel({ path: '/none' })] } }))).toEqual({
      level: 'ok',
      found: '6.0 GB of 8.0 GB are free',
    });
  });

  it('of a control group is warned of when it is less than needed', async () => {
    const limited = (limit: number | undefined) => ({
      ...machine(8, 8),
      probe: { memory: { ...memory(8, 8), limit } },
    });
    expect(await checkMemoryLimit(facts(limited(undefined)))).toEqual({ level: 'ok', found: 'none' });
    expect((await checkMemoryLimit(facts(limited(7 * GB)))).level).toBe('ok');
    const short = await checkMemoryLimit(facts(limited(6 * GB)));
    expect(short).toMatchObject({
      level: 'warn',
      found: expect.stringContaining('6.0 GB for this control group'),
    });
  });
});

describe('GPU memory', () => {
  const machine = (free: number, changes = {}): Machine => ({
    programs: { '/bin/llama-cli': `Available devices:\n  CUDA0: A GPU (4000 MiB, ${free} MiB free)\n` },
    modelSize: 2 * GB,
    server: { models: [checkedModel(changes)] },
  });

  it('counts in the place of main memory where the model goes to the GPU', async () => {
    const at = facts({ ...machine(3000), probe: { memory: memory(1, 0.1) } });
    expect((await checkMemory(at)).level).toBe('ok');
    expect(await checkGpuMemory(at)).toMatchObject({
      level: 'ok',
      found: expect.stringContaining('about 2.0 GB'),
    });
  });

  it.each([
    ['is free no longer', machine(1000)],
    ['is not there at all', machine(4000, { workers: 3 })],
  ])('is warned of when what is needed %s', async (_what, given) => {
    expect(await checkGpuMemory(facts(given))).toMatchObject({
      level: 'warn',
      todo: expect.stringContaining('LLM_WORKERS'),
    });
  });

  it('is none without a GPU, or with no layer on it', async () => {
    expect((await checkGpuMemory(facts())).found).toBe('no GPU in use');
    expect((await checkGpuMemory(facts(machine(10, { gpuLayers: 0 })))).found).toBe('no GPU in use');
  });
});

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
