import { readFileSync } from 'node:fs';
import path from 'node:path';
import { chooseFlavours, chooseNamed, chooseNative } from '../../../src/install/llama/choose.js';
import type { Pin } from '../../../src/install/llama/context.js';
import type { Machine } from '../../../src/install/llama/machine.js';

const PIN_FILE = path.resolve(import.meta.dirname, '../../../vendor/llama.cpp.json');
const pin = JSON.parse(readFileSync(PIN_FILE, 'utf8')) as Pin;
const env = { PATH: '/nowhere' };

const machine = (changes: Partial<Machine> = {}, ...libraries: string[]): Machine => ({
  platform: 'linux-x64',
  libraries: new Map(libraries.map((name) => [name, { path: `/lib/${name}`, known: true }])),
  nvidiaGpu: false,
  nvcc: false,
  renderNode: false,
  vulkanDrivers: [],
  ...changes,
});

const NVIDIA = { nvidiaGpu: true };
const VULKAN = { renderNode: true, vulkanDrivers: ['/usr/share/vulkan/icd.d/radeon_icd.x86_64.json'] };
const runtime = (version: number) =>
  ['libcudart', 'libcublas', 'libcublasLt'].map((name) => `${name}.so.${version}`).concat('libcuda.so.1');

const chosen = async (here: Machine) => {
  const { candidates, notes } = await chooseFlavours(pin, here, env);
  return {
    flavours: candidates.map(({ flavour }) => flavour),
    reason: candidates[0]!.reason,
    notes: notes.join(),
  };
};

test.each<[string, Machine, string[], string]>([
  ['no GPU', machine(), ['cpu'], 'no NVIDIA GPU, no Vulkan driver for a GPU'],
  ['CUDA 13', machine(NVIDIA, ...runtime(13)), ['cuda', 'cpu'], 'CUDA runtime'],
  ['CUDA 12', machine(NVIDIA, ...runtime(12)), ['cuda', 'cpu'], 'CUDA runtime'],
  ['a Vulkan driver', machine(VULKAN, 'libvulkan.so.1'), ['vulkan', 'cpu'], 'Vulkan driver'],
  [
    'CUDA and Vulkan',
    machine({ ...NVIDIA, ...VULKAN }, ...runtime(13), 'libvulkan.so.1'),
    ['cuda', 'vulkan', 'cpu'],
    'CUDA',
  ],
  [
    'a driver without a device',
    machine({ ...VULKAN, renderNode: false }, 'libvulkan.so.1'),
    ['cpu'],
    'no Vulkan',
  ],
  ['a Mac', machine({ platform: 'darwin-arm64' }), ['metal'], 'a Mac'],
])('auto chooses for %s', async (_, here, flavours, reason) => {
  expect(await chosen(here)).toEqual({ flavours, reason: expect.stringContaining(reason), notes: '' });
});

test('auto takes the libraries for the CUDA runtime that is here', async () => {
  const packagesFor = async (version: number) =>
    (await chooseFlavours(pin, machine(NVIDIA, ...runtime(version)), env)).candidates[0]!.libraries!.packages
      .length;
  expect([await packagesFor(13), await packagesFor(12)]).toEqual([1, 2]);
});

test('an NVIDIA GPU without the CUDA runtime is not used, and the note names the packages', async () => {
  const { flavours, reason, notes } = await chosen(machine(NVIDIA, 'libcuda.so.1'));
  expect(flavours).toEqual(['cpu']);
  expect(reason).toContain('CUDA needs libcudart.so.13, libcublas.so.13');
  expect(notes).toMatch(/apt install cuda-cudart-13-0 libcublas-13-0(,|$)/);
});

test('a Vulkan driver without the loader is not used, and the note names its package', async () => {
  const { flavours, notes } = await chosen(machine(VULKAN));
  expect(flavours).toEqual(['cpu']);
  expect(notes).toMatch(/apt install libvulkan1/);
});

test('a named flavour without its libraries is refused with the packages, but nvcc can compile CUDA', async () => {
  await expect(chooseNamed('cuda', pin, machine(), env)).rejects.toThrow('cuda-cudart-13-0');
  expect(await chooseNamed('cuda', pin, machine({ nvcc: true }), env)).not.toHaveProperty('libraries');
  expect(await chooseNamed('vulkan', pin, machine({}, 'libvulkan.so.1'), env)).toHaveProperty('libraries');
});

test('a platform without libraries compiles everything', async () => {
  const { candidates } = await chooseFlavours(pin, machine({ platform: 'linux-riscv64' }), env);
  expect(candidates).toEqual([{ flavour: 'cpu', reason: 'no NVIDIA GPU' }]);
});

test.each<[Partial<Machine>, string]>([
  [{}, 'cpu'],
  [NVIDIA, 'cpu'],
  [{ ...NVIDIA, nvcc: true }, 'cuda'],
  [{ platform: 'darwin-x64' }, 'metal'],
])('--native chooses for %j', (changes, flavour) => {
  expect(chooseNative(machine(changes)).flavour).toBe(flavour);
});
