import { jest } from '@jest/globals';
import {
  ServiceManager,
  type ServiceManagerOptions,
  type Vitals,
} from '../../../src/observe/service-manager.js';

const OK: Vitals = { ready: true, status: 'ok' };
const STARTING: Vitals = { ready: false, status: 'starting' };

/** The messages to systemd. */
let sent: string[][];
let vitals: Vitals | undefined;
/** The timeouts of the self-checks. */
let timeouts: number[];

const managerWith = (options: Partial<ServiceManagerOptions> = {}): ServiceManager =>
  new ServiceManager({
    notify: async (fields) => void sent.push([...fields]),
    watchdogMs: 30_000,
    check: async (timeoutMs) => (timeouts.push(timeoutMs), vitals),
    ...options,
  });

beforeEach(() => {
  jest.useFakeTimers();
  [sent, timeouts, vitals] = [[], [], OK];
});
afterEach(() => jest.useRealTimers());

const pass = (ms: number) => jest.advanceTimersByTimeAsync(ms);

test('READY=1 is sent once, when something can serve', async () => {
  const manager = managerWith();
  vitals = STARTING;
  await manager.watch();
  vitals = OK;
  await manager.watch();
  await pass(15_000);
  expect(sent).toEqual([
    ['WATCHDOG=1', 'STATUS=starting'],
    ['READY=1', 'WATCHDOG=1', 'STATUS=ok'],
    ['WATCHDOG=1', 'STATUS=ok'],
  ]);
});

test('WATCHDOG=1 is sent at half the watchdog’s time, after a self-check of at most half of that', async () => {
  await managerWith().watch();
  await pass(14_999);
  expect(sent).toHaveLength(1);
  await pass(1);
  expect(sent).toHaveLength(2);
  expect(timeouts).toEqual([7_500, 7_500]);
});

test('WATCHDOG=1 is not sent while self-checks fail, which are repeated each second', async () => {
  const manager = managerWith();
  await manager.watch();
  vitals = undefined;
  await pass(17_000);
  expect(sent).toHaveLength(1);
  expect(timeouts).toHaveLength(4);
  vitals = OK;
  await pass(1_000);
  expect(sent).toHaveLength(2);
});

test('overlapping checks leave one timer', async () => {
  const manager = managerWith();
  await Promise.all([manager.watch(), manager.watch()]);
  expect(jest.getTimerCount()).toBe(1);
  expect(sent.filter((fields) => fields.includes('READY=1'))).toHaveLength(1);
});

test('the state is sent without a watchdog too', async () => {
  await managerWith({ watchdogMs: undefined }).watch();
  await pass(30_000);
  expect(sent).toEqual([['READY=1', 'STATUS=ok'], ['STATUS=ok']]);
});

test('RELOADING=1 is sent before a reload and READY=1 after it, even if it fails', async () => {
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

test('READY=1 is not sent after a reload before anything can serve', async () => {
  vitals = STARTING;
  const manager = managerWith();
  await manager.watch();
  const reload = jest.fn(async () => undefined);
  await manager.reload(reload);
  expect(reload).toHaveBeenCalled();
  expect(sent.flat()).not.toContain('READY=1');
});

test('STOPPING=1 extends the timeout beyond the grace and is the last message', async () => {
  const manager = managerWith();
  await manager.watch();
  await manager.stopping(600_000);
  await manager.watch();
  await pass(60_000);
  expect(sent.slice(1)).toEqual([
    ['STOPPING=1', 'STATUS=finishing open replies', 'EXTEND_TIMEOUT_USEC=615000000'],
  ]);
});

test('a self-check that ends after the shutdown has begun sends nothing', async () => {
  let end!: (vitals: Vitals) => void;
  const manager = managerWith({ check: () => new Promise((resolve) => (end = resolve)) });
  const watching = manager.watch();
  await manager.stopping(1_000);
  end(OK);
  await watching;
  expect(sent).toHaveLength(1);
  expect(jest.getTimerCount()).toBe(0);
});

test('a message is sent after the one before', async () => {
  const releases: (() => void)[] = [];
  const notify = (fields: readonly string[]) => {
    sent.push([...fields]);
    return new Promise<void>((resolve) => releases.push(resolve));
  };
  const manager = managerWith({ notify, watchdogMs: undefined });
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

test('without a service manager nothing is checked or sent', async () => {
  const manager = managerWith({ notify: undefined, watchdogMs: undefined });
  await manager.watch();
  await manager.stopping(0);
  await pass(60_000);
  expect([sent, timeouts]).toEqual([[], []]);
});
