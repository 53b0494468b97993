import { LoggedServer, ServerProcess } from '../../harness/server-process.js';

const TIME = '2030-01-01T00:00:00.250Z';
let server: LoggedServer;
const add = (event: string, fields: object = {}, level = 30) =>
  server.add(JSON.stringify({ level, time: TIME, event, ...fields }));

beforeEach(() => (server = new LoggedServer(false)));

test.each([
  [false, ['listening', 'request']],
  [true, ['listening', 'request', 'request']],
])('with keepRequests %j, the log has the events %j and no other output', (keepRequests, events) => {
  server = new LoggedServer(keepRequests);
  server.add('LMServ listens on …');
  add('listening', { port: 80 });
  add('request', { outcome: 'finished' });
  add('request', { outcome: 'finished', attempts: 2 });
  server.add('{"event":"cut sh');
  expect(server.lines.map(({ event }) => event)).toEqual(events);
  expect(server.url).toBe('http://127.0.0.1:80');
});

test('workers live from their spawn to their exit and are ready in between', () => {
  add('worker_spawn', { worker: 'm#1.2', pid: 12 });
  add('worker_spawn', { worker: 'm#0.1', pid: 11 });
  add('worker_ready', { pid: 12 });
  expect(server.workers.map(({ pid, ready }) => [pid, ready])).toEqual([
    [11, false],
    [12, true],
  ]);
  add('worker_exit', { pid: 11 });
  expect(server.workers.map(({ pid }) => pid)).toEqual([12]);
});

test('until resolves with the first line that fits, logged before or after the call; next only with a later one', async () => {
  add('worker_exit', { pid: 1 });
  const fits = ({ pid }: { pid: number }) => pid === 2;
  const lines = [server.until('worker_exit'), server.until('worker_exit', fits), server.next('worker_exit')];
  for (const pid of [3, 2]) add('worker_exit', { pid });
  expect((await Promise.all(lines)).map(({ pid }) => pid as number)).toEqual([1, 2, 3]);
});

test('until rejects when its signal aborts', async () => {
  const aborted = new AbortController();
  const never = server.until('listening', undefined, aborted.signal);
  aborted.abort();
  await expect(never).rejects.toThrow('aborted');
});

test('errors are the lines of level error or worse', () => {
  add('worker_exit', { pid: 1 }, 40);
  add('crash', {}, 60);
  expect(server.errors.map(({ event }) => event)).toEqual(['crash']);
});

describe('a server process', () => {
  const script = (code: string) => new ServerProcess({ command: [process.execPath, '-e', code] });

  test('has started once it listens and its workers are ready', async () => {
    const events = ['listening', 'worker_spawn', 'worker_ready'].map((event) =>
      JSON.stringify({ level: 30, time: TIME, event, port: 80, pid: 1, worker: 'm#0.1' }),
    );
    const started = await script(
      `console.log(${JSON.stringify(events.join('\n'))}); setInterval(() => {}, 1e6)`,
    ).untilStarted();
    expect(started.port).toBe(80);
    expect(await started.stop()).toBeNull();
    expect(started.exit).toEqual({ code: null, signal: 'SIGTERM' });
  });

  test('that ends before is an error with its last output', async () => {
    await expect(script("console.error('no model'); process.exit(3)").untilStarted()).rejects.toThrow(
      'LMServ ended before it was ready:\nno model',
    );
  });

  test('that cannot be run is an error too', async () => {
    await expect(new ServerProcess({ command: ['/nonexistent'] }).untilStarted()).rejects.toThrow('ENOENT');
  });

  test('is stopped when its signal aborts', async () => {
    const aborted = new AbortController();
    const server = script('setInterval(() => {}, 1e6)');
    const started = server.untilStarted(1, aborted.signal);
    aborted.abort(new Error('interrupted'));
    await expect(started).rejects.toThrow('interrupted');
    expect(server.exit).toEqual({ code: null, signal: 'SIGTERM' });
  });
});
