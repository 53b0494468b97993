import { GpuMonitor, type GpuMonitorOptions } from '../../../src/app/gpu-monitor.js';
import type { WorkerInfo } from '../../../src/contract.js';
import type { Card } from '../../../src/observe/gpus.js';
import { worker } from '../observe/helpers.js';

const GIB = 2 ** 30;
const BINARY = '/bin/llama-cli';

interface Machine {
  readonly workers?: readonly Partial<WorkerInfo>[];
  /** What the binary lists in turn; the last for ever. */
  readonly listings?: readonly (readonly string[] | undefined)[];
  readonly cards?: readonly Card[];
  /** The driver never replies. */
  readonly hangs?: boolean;
}

/** A monitor, the questions that it asked, and its clock. */
function watch({ workers = [{}], listings = [['CUDA0']], cards = [], hangs = false }: Machine = {}) {
  const asked: string[] = [];
  let now = 1_000;
  let expire: (() => void) | undefined;
  const list: GpuMonitorOptions['list'] = async (file, gpus) => {
    const ids = listings[Math.min(asked.length, listings.length - 1)];
    asked.push([file, ...gpus].join(' '));
    return ids?.map((id) => ({ id, name: 'NVIDIA H200', total: 8 * GIB, free: asked.length * GIB }));
  };
  const monitor = new GpuMonitor({
    workers: () => workers.map((fields) => worker({ binary: BINARY, ...fields })),
    env: {},
    list,
    cards: () => (hangs ? new Promise(() => undefined) : Promise.resolve([...cards])),
    clock: {
      now: () => now,
      after: (_, done) => {
        expire = done;
        return () => (expire = undefined);
      },
    },
  });
  const devices = async () => (await monitor.read()).map(({ device }) => device);
  return { monitor, asked, devices, pass: (ms: number) => (now += ms), expire: () => expire?.() };
}

/** One whose driver does not tell its memory. */
const SILENT: Card = { index: 0, cuda: 0, uuid: 'GPU-1', name: 'NVIDIA H200' };
const CARD: Card = { ...SILENT, total: 9 * GIB, free: 3 * GIB, temperature: 31, power: 75 };

const lacking = { offloaded: 0, total: 5, requested: 99, lacking: true };

test('a GPU has the name and memory that the binary lists', async () => {
  const { monitor } = watch();
  const expected = { device: 'CUDA0', name: 'NVIDIA H200', total: 8 * GIB, free: GIB };
  expect(await monitor.read()).toEqual([expected]);
});

test('temperature, power and current memory come from the driver', async () => {
  const { monitor } = watch({ cards: [CARD] });
  expect(await monitor.read()).toEqual([
    ...[{ device: 'CUDA0', name: 'NVIDIA H200', total: 9 * GIB, free: 3 * GIB, temperature: 31, power: 75 }],
  ]);
});

test('nothing is asked before the first worker is there, nor again for 15 s', async () => {
  const none: Partial<WorkerInfo>[] = [];
  const { asked, devices, pass } = watch({ workers: none });
  expect(await devices()).toEqual([]);
  expect(asked).toEqual([]);
  none.push({});
  expect(await devices()).toEqual(['CUDA0']);
  pass(14_999);
  none.push({ binary: '/other' });
  expect(await devices()).toEqual(['CUDA0']);
  expect(asked).toEqual([BINARY]);
});

test('simultaneous readers share one reading', async () => {
  const { monitor, asked } = watch();
  await Promise.all([monitor.read(), monitor.read()]);
  expect(monitor.health.gpus).toHaveLength(1);
  expect(asked).toHaveLength(1);
});

test('a binary is asked again after a minute if no driver tells the memory', async () => {
  const { monitor, asked, pass } = watch({ cards: [SILENT] });
  await monitor.read();
  pass(59_000);
  await monitor.read();
  expect(asked).toHaveLength(1);
  pass(1_000);
  await monitor.read();
  pass(15_000);
  expect((await monitor.read())[0]!.free).toBe(2 * GIB);
  expect(asked).toHaveLength(2);
});

test('a binary is asked once if the driver tells the memory of each device', async () => {
  const { monitor, asked, pass } = watch({ cards: [CARD] });
  await monitor.read();
  pass(600_000);
  await monitor.read();
  expect(asked).toHaveLength(1);
});

test('a GPU that comes back is found after a minute', async () => {
  const { devices, pass } = watch({ listings: [undefined, ['CUDA0']], cards: [CARD] });
  expect(await devices()).toEqual([]);
  pass(60_000);
  expect(await devices()).toEqual(['CUDA0']);
});

test('a binary is asked about the GPUs of its workers, which keep their numbers', async () => {
  const workers = ['3', '1', '3'].map((gpu) => ({ gpu }));
  const { asked, devices } = watch({ workers, listings: [['CUDA0', 'CUDA1']] });
  expect(await devices()).toEqual(['CUDA1', 'CUDA3']);
  expect(asked).toEqual([`${BINARY} 1 3`]);
});

test('models that share a GPU share its entry', async () => {
  const workers = [{ model: 'a', gpu: '0' }, { model: 'b', gpu: '0' }, { model: 'c' }];
  const { asked, devices } = watch({ workers });
  expect(await devices()).toEqual(['CUDA0']);
  expect(asked).toEqual([`${BINARY} 0`, BINARY]);
});

test('a scrape does not wait for a driver that hangs', async () => {
  const { monitor, expire } = watch({ hangs: true });
  const waiting = monitor.read();
  expire();
  expect(await waiting).toEqual([]);
});

test('a health check gets the last reading without waiting for the next', async () => {
  const { monitor } = watch();
  expect(monitor.health).toEqual({});
  await monitor.read();
  expect(monitor.health).toMatchObject({ gpus: [{ device: 'CUDA0' }] });
});

test('a health check names the workers that lack their GPU', () => {
  const workers = [{ id: 'a#0.1', offload: lacking }, { id: 'a#1.2' }];
  expect(watch({ workers }).monitor.health).toEqual({ lackingGpu: ['a#0.1'] });
});
