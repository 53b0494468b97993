import { ServerLog } from '../../chaos/server-log.js';

const TIME = '2030-01-01T00:00:00.250Z';
let log: ServerLog;
const add = (event: string, fields: object = {}, level = 30) =>
  log.add(JSON.stringify({ level, time: TIME, event, ...fields }));

beforeEach(() => (log = new ServerLog()));

test('workers live from their spawn to their exit and are ready in between', () => {
  add('worker_spawn', { worker: 'm#1.2', pid: 12 });
  add('worker_spawn', { worker: 'm#0.1', pid: 11 });
  add('worker_ready', { pid: 12 });
  expect(log.workers.map(({ pid, ready }) => [pid, ready])).toEqual([
    [11, false],
    [12, true],
  ]);
  add('worker_exit', { pid: 11 });
  expect(log.workers.map(({ pid }) => pid)).toEqual([12]);
  expect(log.pids).toEqual([12, 11]);
});

test('an exit is told with the time of the log line', () => {
  const times: number[] = [];
  add('worker_spawn', { worker: 'm#0.1', pid: 11 });
  log.onExit(11, (at) => times.push(at));
  add('worker_exit', { pid: 11 });
  expect(times).toEqual([Date.parse(TIME)]);
});

test('what was awaited resolves with the line that makes it so', async () => {
  const port = log.until(() => log.port === 80);
  add('listening', { port: 80 });
  await port;
});

test('replies gone on with are those that had begun when their worker failed, and finished', () => {
  add('worker_failed_request', { requestId: 'a', tokens: 3 });
  add('request', { requestId: 'a', outcome: 'finished', attempts: 2 });
  add('worker_failed_request', { requestId: 'b', tokens: 3 });
  add('request', { requestId: 'b', outcome: 'broken', attempts: 2 });
  add('worker_failed_request', { requestId: 'c', tokens: 0 });
  add('request', { requestId: 'c', outcome: 'finished', attempts: 2 });
  add('request', { requestId: 'd', outcome: 'finished' });
  expect([log.resumed, log.retried]).toEqual([1, 1]);
});

test('errors are kept, warnings and what is no JSON are not', () => {
  add('worker_exit', { pid: 1 }, 40);
  add('crash', {}, 60);
  log.add('not JSON');
  expect(log.errors).toHaveLength(1);
});
