import { chooseSlots } from '../../../workers/sizing.js';

describe('slots by default', () => {
  const cpu = { gpus: [], threads: 4 };

  test.each([
    ['two on a CPU', cpu, undefined, 2],
    ['one where a worker has one thread', { ...cpu, threads: 1 }, undefined, 1],
    ['four with layers on a GPU', { ...cpu, gpuLayers: 20 }, undefined, 4],
    ['four with a GPU named', { ...cpu, gpus: ['0'] }, undefined, 4],
    ['four with a build for GPUs', cpu, '/x/vendor/llama.cpp/build-cuda/bin/llama-cli', 4],
    [
      'two with that build and no layer on the GPU',
      { ...cpu, gpuLayers: 0 },
      '/x/build-cuda/bin/llama-cli',
      2,
    ],
    ['what was asked for', { ...cpu, slots: 7 }, undefined, 7],
  ])('%s', (_name, model, binPath, slots) => {
    expect(chooseSlots(model, 1, binPath)).toBe(slots);
  });
});
