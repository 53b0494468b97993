import { listDevices } from '../../../workers/devices.js';
import { pass } from '../../support/clock.js';
import { FakeGpus } from '../../support/fake-gpu.js';
import { emptyFolder } from '../../support/folder.js';
import { startPool, TestPool } from '../../support/pool.js';

/** What pools make of GPUs that are missing, full or gone, which real ones do not show on demand. */

const folder = emptyFolder();
const MIB = 2 ** 20;

type PoolSettings = ConstructorParameters<typeof TestPool>[0];

const settings = (gpus: FakeGpus, pool: PoolSettings = {}, gpuLayers: number | undefined = 99) =>
  [pool, { binary: { path: gpus.binary, kind: 'llama-cli' as const }, gpuLayers }] as const;

const layers = (offloaded: number) => ({ offloaded, total: 5, requested: 99 });

test('workers are assigned to the GPUs in turn, and each knows what it takes where', async () => {
  const gpus = new FakeGpus(folder, 3);
  const fake = await startPool(...settings(gpus, { workers: 3, gpus: ['2', '0'] }));
  expect(fake.pool.workers().map(({ options }) => options.gpu)).toEqual(['2', '0', '2']);
  const devices = fake.backend.workers().map(({ memory }) => memory!.map(({ device }) => device));
  expect(devices).toEqual([
    ['host', 'CUDA2'],
    ['host', 'CUDA0'],
    ['host', 'CUDA2'],
  ]);
  expect(fake.backend.workers()[0]!.memory![1]).toMatchObject({ context: 5 * MIB, mapped: 0 });
  expect(fake.backend.workers()[0]!.offload).toEqual({ ...layers(5), lacking: false });
  expect(fake.logged('worker_lacks_gpu')).toEqual([]);
});

test('the replacement of a worker gets its GPU', async () => {
  const fake = await startPool(...settings(new FakeGpus(folder, 2), { workers: 2, gpus: ['0', '1'] }));
  const second = fake.pool.workers()[1]!;
  const ready = fake.next('worker_ready');
  await fake.killOutside(second.pid);
  expect(await ready).toMatchObject({
    worker: 'fake#1.3',
    memory: [{ device: 'host' }, { device: 'CUDA1' }],
  });
});

test('a binary lists only the GPUs that are named, in that order', async () => {
  const { binary } = new FakeGpus(folder, 3);
  const list = async (gpus: string[]) =>
    (await listDevices(binary, gpus, process.env))?.map(({ name }) => name);
  expect(await list([])).toEqual(['NVIDIA fake 0', 'NVIDIA fake 1', 'NVIDIA fake 2']);
  expect(await list(['2', '0'])).toEqual(['NVIDIA fake 2', 'NVIDIA fake 0']);
});

test('a binary that fails lists nothing', async () => {
  expect(await listDevices('/bin/false', [], {})).toBeUndefined();
  expect(await listDevices('/nonexistent', [], {})).toBeUndefined();
});

test('a worker that finds no GPU serves from the CPU, with a warning', async () => {
  const gpus = new FakeGpus(folder, 1);
  gpus.pullOut('0');
  const fake = await startPool(...settings(gpus));
  const [warning] = fake.logged('worker_lacks_gpu');
  expect(warning).toMatchObject({ level: 40, worker: 'fake#0.1', layers: layers(0) });
  expect(fake.backend.workers()).toMatchObject([{ offload: { lacking: true } }]);
  expect(await fake.ask('slow but sure').text()).toBe('slow but sure');
});

test('a worker on the CPU to which nothing was promised causes no warning', async () => {
  const gpus = new FakeGpus(folder, 1);
  gpus.pullOut('0');
  const fake = await startPool({}, { binary: { path: gpus.binary, kind: 'llama-cli' } });
  expect(fake.logged('worker_ready')).toMatchObject([{ layers: { offloaded: 0, lacking: false } }]);
  expect(fake.logged('worker_lacks_gpu')).toEqual([]);
});

test('a full GPU is a failed start that names it and what did not fit; the pool recovers when there is room', async () => {
  const gpus = new FakeGpus(folder, 1);
  gpus.fill();
  const fake = new TestPool(...settings(gpus, { gpus: ['0'] }));
  fake.pool.start();
  const reason = 'out of memory: 953 MiB more do not fit into the memory of CUDA0';
  expect(await fake.next('worker_exit')).toMatchObject({ cause: 'start_failed', reason, level: 40 });
  expect(await fake.pool.started).toBe(false);
  gpus.free();
  await fake.pool.firstReady;
  expect(await fake.ask('there is room').text()).toBe('there is room');
});

test('when its GPU disappears, a worker is replaced by one on the CPU, and that by one on the GPU when it is back', async () => {
  const gpus = new FakeGpus(folder, 1);
  const fake = await startPool(...settings(gpus, { gpus: ['0'], checkIntervalMs: 20 }));
  gpus.pullOut('0');
  const lacking = fake.next('worker_lacks_gpu');
  await fake.killOutside();
  expect(await lacking).toMatchObject({ worker: 'fake#0.2' });
  const held = await fake.hold('@hold on the CPU');
  gpus.plugIn('0');
  pass(60_000);
  expect(await fake.next('worker_recycle')).toMatchObject({ worker: 'fake#0.2', limit: 'gpu' });
  expect(await fake.next('worker_ready')).toMatchObject({
    worker: 'fake#0.3',
    layers: { ...layers(5), lacking: false },
  });
  expect(fake.pool.workers().map(({ id }) => id)).toContain('fake#0.2');
  const exit = fake.next('worker_exit');
  await held.release().catch(() => undefined);
  expect(await exit).toMatchObject({ worker: 'fake#0.2', cause: 'recycled' });
});
