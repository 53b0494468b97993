import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { cardOf, parseNvidiaSmi, readCards, type Card } from '../../../src/observe/gpus.js';
import { emptyFolder } from '../../support/folder.js';

const NO_PROGRAMS = { PATH: '' };
const folder = emptyFolder();

/** Writes a /sys/class/drm with these files. */
function drm(files: Readonly<Record<string, string>>): void {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
}

test("nvidia-smi's line gives memory in bytes, degrees and watts; the name may hold a comma", () => {
  const output = '0, GPU-4f2c, 143771, 143200, 31, 74.97, NVIDIA H200, SXM\n';
  expect(parseNvidiaSmi(output)).toEqual([
    {
      ...{ index: 0, uuid: 'GPU-4f2c', name: 'NVIDIA H200, SXM' },
      ...{ total: 143771 * 2 ** 20, free: 143200 * 2 ** 20, temperature: 31, power: 74.97 },
    },
  ]);
});

test('what nvidia-smi does not know is absent', () => {
  const output = '0, GPU-1, [N/A], [N/A], 40, [Not Supported], NVIDIA GB10\n';
  expect(parseNvidiaSmi(output)).toEqual([{ index: 0, uuid: 'GPU-1', name: 'NVIDIA GB10', temperature: 40 }]);
});

test('messages of nvidia-smi are no cards', () => {
  expect(parseNvidiaSmi('Failed to initialize NVML: Driver/library version mismatch\n\n')).toEqual([]);
});

test("a card's memory, temperature and power come from the kernel; connectors and cards without sensors do not count", async () => {
  drm({
    'card1/device/mem_info_vram_total': '17163091968\n',
    'card1/device/mem_info_vram_used': '163091968\n',
    'card1/device/hwmon/hwmon4/temp1_input': '47000\n',
    'card1/device/hwmon/hwmon4/power1_average': '22000000\n',
    'card1-DP-1/device/mem_info_vram_total': '1\n',
    'card0/device/vendor': '0x1234\n',
    version: 'drm 1.1.0\n',
  });
  const expected = { total: 17163091968, free: 17e9, temperature: 47, power: 22 };
  expect(await readCards(NO_PROGRAMS, folder)).toEqual([expected]);
});

test('without a driver there is no card', async () => {
  expect(await readCards(NO_PROGRAMS, '/nonexistent')).toEqual([]);
});

test('nvidia-smi is found on PATH, and CUDA_VISIBLE_DEVICES decides how CUDA numbers its cards', async () => {
  const script = '#!/bin/sh\necho "3, GPU-9, 100, 50, 60, 70.5, NVIDIA T4"\n';
  writeFileSync(join(folder, 'nvidia-smi'), script, { mode: 0o755 });
  const read = (visible?: string) =>
    readCards({ PATH: folder, CUDA_VISIBLE_DEVICES: visible }, '/nonexistent');
  expect(await read()).toMatchObject([{ index: 3, cuda: 3, name: 'NVIDIA T4', temperature: 60 }]);
  expect(await read('5,3')).toMatchObject([{ index: 3, cuda: 1 }]);
  expect(await read('GPU-9')).toMatchObject([{ index: 3, cuda: 0 }]);
  expect(await read('')).toEqual([expect.not.objectContaining({ cuda: expect.anything() })]);
});

const cuda = (index: number) => ({ id: `CUDA${index}`, name: 'NVIDIA H200' });
const vulkan = (index: number, name: string) => ({ id: `Vulkan${index}`, name });
const smi = (index: number, name = 'NVIDIA H200'): Card => ({
  index,
  cuda: index,
  uuid: `GPU-${index}f`,
  name,
});
const amd: Card = { temperature: 47 };

test.each([
  ['has the number that CUDA gives it', cuda(1), [], smi(1)],
  ['is the one of LLM_GPUS in this place', cuda(1), ['2', '0'], smi(0)],
  ['may be named by its UUID', cuda(0), ['GPU-1'], smi(1)],
  ['beyond those of LLM_GPUS has no card', cuda(1), ['0'], undefined],
])('a CUDA device %s', (_, device, gpus, expected) => {
  expect(cardOf(device, [cuda(0), cuda(1)], [smi(0), smi(1), smi(2)], gpus)).toEqual(expected);
});

test('a Vulkan device has the only card of its name', () => {
  const devices = [vulkan(0, 'NVIDIA T4'), vulkan(1, 'NVIDIA H200')];
  const cards = [smi(0), smi(1, 'NVIDIA T4'), smi(2)];
  expect(cardOf(devices[0]!, devices, cards, [])).toEqual(cards[1]);
  expect(cardOf(devices[1]!, devices, cards, [])).toBeUndefined();
});

test('a card without a name belongs to a device only if both are the only ones', () => {
  const devices = [vulkan(0, 'AMD Radeon RX 7900'), vulkan(1, 'AMD Radeon RX 7900')];
  expect(cardOf(devices[0]!, devices.slice(0, 1), [amd], [])).toBe(amd);
  expect(cardOf(devices[0]!, devices, [amd], [])).toBeUndefined();
  expect(cardOf(devices[0]!, devices.slice(0, 1), [amd, amd], [])).toBeUndefined();
});

test('an NVIDIA card of another name is not the card of a Vulkan device', () => {
  const device = vulkan(0, 'llvmpipe (LLVM 15.0.6, 256 bits)');
  expect(cardOf(device, [device], [smi(0)], [])).toBeUndefined();
});
