import { DeviceMemories } from '../../../src/app/device-memory.js';
import { placeNeed } from '../../../src/app/local-model.js';
import type { Device } from '../../../workers/devices.js';
import { pass } from '../../support/clock.js';

const device = (id: string, total: number, free: number): Device => ({ id, name: 'a GPU', total, free });

/** Binaries by name, and the calls of each. */
function listing(binaries: Record<string, Device[] | undefined>) {
  const calls: string[] = [];
  const list = async (binary: string) => {
    calls.push(binary);
    return binaries[binary];
  };
  return { calls, memories: new DeviceMemories({}, list) };
}

describe('the memory of devices', () => {
  test('has the names that workers report: with the number that LLM_GPUS gives', async () => {
    const { memories } = listing({ cli: [device('CUDA0', 10, 6), device('CUDA1', 10, 7)] });
    const free = await memories.free([
      { binary: 'cli', gpus: [] },
      { binary: 'cli', gpus: ['2', '5'] },
    ]);
    expect(free).toEqual({ CUDA0: 6, CUDA1: 7, CUDA2: 6, CUDA5: 7 });
    expect(await memories.total({ binary: 'cli', gpus: [] })).toEqual({ CUDA0: 10, CUDA1: 10 });
  });

  test('is asked again after a second, but not of a binary that has no devices', async () => {
    const { memories, calls } = listing({ gpu: [device('CUDA0', 10, 6)], cpu: [], broken: undefined });
    const uses = ['gpu', 'cpu', 'broken'].map((binary) => ({ binary, gpus: [] }));
    await Promise.all([memories.free(uses), memories.free(uses)]);
    expect(calls).toEqual(['gpu', 'cpu', 'broken']);
    pass(1_000);
    expect(await memories.free(uses)).toEqual({ CUDA0: 6 });
    expect(calls).toEqual(['gpu', 'cpu', 'broken', 'gpu']);
  });
});

describe('a model that has not been loaded yet is expected', () => {
  const estimate = { weights: 80, cache: 15, compute: 5, total: 200, shared: 120 };

  test('in main memory, with its weights once, where there is no device', () => {
    expect(placeNeed(estimate, {})).toEqual({ host: 120 });
  });

  test('on the devices, in proportion to their size', () => {
    expect(placeNeed(estimate, { CUDA0: 300, CUDA1: 100 })).toEqual({ CUDA0: 150, CUDA1: 50, host: 5 });
  });

  test('in main memory for what the devices cannot hold', () => {
    expect(placeNeed(estimate, { CUDA0: 100 })).toEqual({ CUDA0: 90, host: 115 });
  });
});
