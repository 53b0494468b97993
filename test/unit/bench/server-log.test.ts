import { ServerLog } from '../../../bench/server-log.js';

const line = (event: string, fields: object = {}) =>
  JSON.stringify({ time: '2026-01-01T00:00:00.000Z', event, ...fields });

test('a log keeps what happened to the server and ignores plain requests and other output', () => {
  const log = new ServerLog();
  const seen: string[] = [];
  log.onLine(({ event }) => seen.push(event));
  log.add('LMServ listens on …');
  log.add(line('listening', { port: 1 }));
  log.add(line('request', { outcome: 'finished' }));
  log.add(line('request', { outcome: 'finished', attempts: 2 }));
  log.add('{"event":"cut sh');
  expect(seen).toEqual(['listening', 'request']);
  expect(log.of('listening')).toMatchObject([{ port: 1 }]);
  expect(log.of('request')).toMatchObject([{ attempts: 2 }]);
});

test('waiting for lines ends when there are enough, or with the signal', async () => {
  const log = new ServerLog();
  const two = log.until('worker_ready', AbortSignal.timeout(10_000), 2);
  log.add(line('worker_ready', { pid: 1 }));
  log.add(line('worker_ready', { pid: 2 }));
  expect((await two).map(({ pid }) => pid)).toEqual([1, 2]);
  const stopped = new AbortController();
  const never = log.until('listening', stopped.signal);
  stopped.abort(new Error('stopped'));
  await expect(never).rejects.toThrow('stopped');
});
