import { serviceEnv } from '../../../src/commands/service-env.js';

/** What systemd says to a process by its environment. */

test('without a service manager there is nothing', () => {
  const nothing = { notifySocket: undefined, watchdogMs: undefined, listenFd: undefined };
  expect(serviceEnv({}, 7)).toEqual(nothing);
});

test('socket, watchdog and port', () => {
  const env = { NOTIFY_SOCKET: '/run/systemd/notify', WATCHDOG_USEC: '30000000', WATCHDOG_PID: '7' };
  expect(serviceEnv({ ...env, LISTEN_PID: '7', LISTEN_FDS: '1' }, 7)).toEqual({
    notifySocket: '/run/systemd/notify',
    watchdogMs: 30_000,
    listenFd: 3,
  });
});

test('a watchdog without a process is for whoever reads it', () => {
  expect(serviceEnv({ WATCHDOG_USEC: '1000000' }, 7).watchdogMs).toBe(1000);
});

test('what is meant for another process is passed over', () => {
  const env = { WATCHDOG_USEC: '1000000', WATCHDOG_PID: '8', LISTEN_PID: '8', LISTEN_FDS: '1' };
  expect(serviceEnv(env, 7)).toMatchObject({ watchdogMs: undefined, listenFd: undefined });
});

test.each(['', '0', 'soon'])('a watchdog of %j is none', (WATCHDOG_USEC) => {
  expect(serviceEnv({ WATCHDOG_USEC }, 7).watchdogMs).toBeUndefined();
});

test('more than one socket is refused', () => {
  expect(() => serviceEnv({ LISTEN_PID: '7', LISTEN_FDS: '2' }, 7)).toThrow('LISTEN_FDS');
});
