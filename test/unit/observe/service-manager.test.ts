import { jest } from '@jest/globals';
import { ServiceManager, type Vitals } from '../../../src/observe/service-manager.js';

/** What systemd is told, over a fake clock. */

const OK: Vitals = { ready: true, status: 'ok' };
const STARTING: Vitals = { ready: false, status: 'starting' };

let sent: string[][];
let answer: Vitals | undefined;
let bounds: number[];

function managerWith(options: { watchdogMs?: number; without?: boolean } = {}): ServiceManager {
  return new ServiceManager({
    notify: options.without === true ? undefined : async (fields) => void sent.push([...fields]),
    watchdogMs: options.watchdogMs,
    check: async (timeoutMs) => {
      bounds.push(timeoutMs);
      return answer;
    },
  });
}

beforeEach(() => {
  jest.useFakeTimers();
  sent = [];
  bounds = [];
  answer = OK;
});
afterEach(() => jest.useRealTimers());

const pass = (ms: number) => jest.advanceTimersByTimeAsync(ms);

test('ready is told once, when something can serve', async () => {
  const manager = managerWith({ watchdogMs: 30_000 });
  answer = STARTING;
  await manager.watch();
  answer = OK;
  await manager.watch();
  await pass(15_000);
  expect(sent).toEqual([
    ['WATCHDOG=1', 'STATUS=starting'],
    ['READY=1', 'WATCHDOG=1', 'STATUS=ok'],
    ['WATCHDOG=1', 'STATUS=ok'],
  ]);
});

test('a sign of life at half the watchdog’s time, each after a self-check of at most half of that', async () => {
  await managerWith({ watchdogMs: 30_000 }).watch();
  await pass(14_999);
  expect(sent).toHaveLength(1);
  await pass(1);
  expect(sent).toHaveLength(2);
  expect(bounds).toEqual([7_500, 7_500]);
});

test('no answer, no sign of life; looked again each second', async () => {
  const manager = managerWith({ watchdogMs: 30_000 });
  await manager.watch();
  answer = undefined;
  await pass(17_000);
  expect(sent).toHaveLength(1);
  expect(bounds).toHaveLength(4);
  answer = OK;
  await pass(1_000);
  expect(sent).toHaveLength(2);
});

test('looks that overlap leave one timer', async () => {
  const manager = managerWith({ watchdogMs: 30_000 });
  await Promise.all([manager.watch(), manager.watch()]);
  expect(jest.getTimerCount()).toBe(1);
  expect(sent.filter((fields) => fields.includes('READY=1'))).toHaveLength(1);
});

test('without a watchdog the state is told all the same', async () => {
  await managerWith().watch();
  await pass(30_000);
  expect(sent).toEqual([['READY=1', 'STATUS=ok'], ['STATUS=ok']]);
});

test('a reload is told with its begin and its end, also when it fails', async () => {
  const manager = managerWith();
  await manager.watch();
  sent = [];
  await manager.reload(async () => {
    await pass(0);
    expect(sent).toEqual([['RELOADING=1', expect.stringMatching(/^MONOTONIC_USEC=\d+$/)]]);
  });
  await pass(0);
  expect(sent.at(-1)).toEqual(['READY=1']);
  sent = [];
  await expect(manager.reload(() => Promise.reject(new Error('bad file')))).rejects.toThrow('bad file');
  await pass(0);
  expect(sent.at(-1)).toEqual(['READY=1']);
});

test('a reload before anything can serve does not make it ready', async () => {
  answer = STARTING;
  const manager = managerWith();
  await manager.watch();
  let done = false;
  await manager.reload(async () => void (done = true));
  expect(done).toBe(true);
  expect(sent.flat()).not.toContain('READY=1');
});

test('stopping asks for the grace and more, and is the last that is said', async () => {
  const manager = managerWith({ watchdogMs: 30_000 });
  await manager.watch();
  await manager.stopping(600_000);
  await manager.watch();
  await pass(60_000);
  expect(sent.slice(1)).toEqual([
    ['STOPPING=1', 'STATUS=finishing open replies', 'EXTEND_TIMEOUT_USEC=615000000'],
  ]);
});

test('an answer that comes after the shutdown has begun is not told', async () => {
  let come: ((vitals: Vitals) => void) | undefined;
  const manager = new ServiceManager({
    notify: async (fields) => void sent.push([...fields]),
    watchdogMs: 30_000,
    check: () => new Promise((resolve) => (come = resolve)),
  });
  const look = manager.watch();
  await manager.stopping(1_000);
  come!(OK);
  await look;
  expect(sent).toHaveLength(1);
  expect(jest.getTimerCount()).toBe(0);
});

test('messages go one after another', async () => {
  const releases: (() => void)[] = [];
  const manager = new ServiceManager({
    notify: (fields) => {
      sent.push([...fields]);
      return new Promise((resolve) => releases.push(resolve));
    },
    watchdogMs: undefined,
    check: async () => OK,
  });
  await manager.watch();
  const stopped = manager.stopping(0);
  await pass(0);
  expect(sent).toHaveLength(1);
  releases[0]!();
  await pass(0);
  expect(sent).toHaveLength(2);
  releases[1]!();
  await stopped;
});

test('without a service manager nothing is looked at and nothing said', async () => {
  const manager = managerWith({ without: true });
  await manager.watch();
  await manager.stopping(0);
  await pass(60_000);
  expect([sent, bounds]).toEqual([[], []]);
});
