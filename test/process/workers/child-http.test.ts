import { FAKE, firstText, startPool, textOf, type TestPool } from '../../support/pool.js';
import { bytesInKernel } from '../../harness/processes.js';

/** What goes between us and a worker, over the pool. */

/** A long reply whose client has stopped reading, and what its worker says of it. */
async function stuckReply() {
  const fake = await startPool({}, { slots: 2 });
  // The other slot, for a look at the worker.
  const { worker } = await fake.pool.lease(new AbortController().signal);
  const { events } = fake.ask('@large');
  await firstText(events);
  let stuck: RegExpExecArray | null = null;
  while (!(stuck = /^stuck (.*)$/m.exec(worker.child.stderr.since(0, Infinity))))
    await new Promise(setImmediate);
  return { fake, events, ...(JSON.parse(stuck[1]!) as { port: number; sent: number }) };
}

test('a reply that is not read is held back, with less than 1 MiB of it in our memory', async () => {
  const { events, port, sent } = await stuckReply();
  const [piece, all] = [64 * 1024, 255 * 64 * 1024];
  expect(sent).toBeLessThan(all);
  expect(sent - bytesInKernel(port)).toBeLessThan(1024 * 1024);
  expect((await textOf(events)).length).toBe(all - piece);
});

test('the death of a worker is noticed while its reply is held back', async () => {
  const { fake, events } = await stuckReply();
  const noticed = fake.next('worker_failed_request');
  await fake.killOutside();
  expect(await noticed).toMatchObject({ kind: 'died' });
  await events.return(undefined);
});

test('a llama-server that is killed leaves its socket; the next one has another path and serves', async () => {
  const fake = await startPool({}, { binary: { path: FAKE, kind: 'llama-server' } });
  expect(await fake.ask('one').text()).toBe('one');
  const first = await socketOf(fake);
  await fake.killOutside();
  await fake.next('worker_ready');
  expect(await socketOf(fake)).not.toBe(first);
  expect(await fake.ask('two').text()).toBe('two');
});

async function socketOf({ pool }: TestPool): Promise<unknown> {
  const lease = await pool.lease(new AbortController().signal);
  lease.release(true);
  return (lease.worker.child.listen as { socketPath: string }).socketPath;
}
