import { deviceName, parseDevices } from '../../../workers/devices.js';

/** Of llama.cpp 0.5.0 with lavapipe, as captured. */
const LAVAPIPE = `Available devices:
  Vulkan0: llvmpipe (LLVM 15.0.6, 256 bits) (2048 MiB, 2047 MiB free)
`;

const MIB = 2 ** 20;

test('a line is a device; its name may hold parentheses', () => {
  const name = 'llvmpipe (LLVM 15.0.6, 256 bits)';
  expect(parseDevices(LAVAPIPE)).toEqual([{ id: 'Vulkan0', name, total: 2048 * MIB, free: 2047 * MIB }]);
});

test('several devices keep their order, whatever else is printed', () => {
  const output = `ggml_cuda_init: found 2 CUDA devices:
  Device 0: NVIDIA H200, compute capability 9.0, VMM: yes
Available devices:
  CUDA0: NVIDIA H200 (143771 MiB, 143200 MiB free)
  CUDA1: NVIDIA H200 (143771 MiB, 10 MiB free)
`;
  expect(parseDevices(output).map(({ id, free }) => [id, free / MIB])).toEqual([
    ['CUDA0', 143200],
    ['CUDA1', 10],
  ]);
});

test('without a device there is none', () => {
  expect(parseDevices('Available devices:\n  (none)\n')).toEqual([]);
});

test.each([
  ['CUDA0', undefined, 'CUDA0'],
  ['CUDA0', '3', 'CUDA3'],
  ['Metal', '0', 'Metal0'],
  ['CUDA0', 'GPU-4f2c', 'GPU-4f2c'],
])('%s of a worker that may use GPU %s is %s', (id, gpu, name) => {
  expect(deviceName(id, gpu)).toBe(name);
});
