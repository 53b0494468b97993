import { serviceEnv } from '../../../src/commands/service-env.js';

const LISTEN = { LISTEN_PID: '7', LISTEN_FDS: '1' };
const NOTHING = { notifySocket: undefined, watchdogMs: undefined, listenFd: undefined };

test.each<[string, NodeJS.ProcessEnv, object]>([
  ['are empty without a service manager', {}, NOTHING],
  [
    'name the socket, the watchdog and the port',
    { ...LISTEN, NOTIFY_SOCKET: '/run/systemd/notify', WATCHDOG_USEC: '30000000', WATCHDOG_PID: '7' },
    { notifySocket: '/run/systemd/notify', watchdogMs: 30_000, listenFd: 3 },
  ],
  ['include a watchdog for any process', { WATCHDOG_USEC: '1000000' }, { ...NOTHING, watchdogMs: 1000 }],
  [
    'leave out what is for another process',
    { WATCHDOG_USEC: '1000000', WATCHDOG_PID: '8', LISTEN_PID: '8', LISTEN_FDS: '1' },
    NOTHING,
  ],
  ...['', '0', 'soon'].map((WATCHDOG_USEC): [string, NodeJS.ProcessEnv, object] => [
    `leave out a watchdog of "${WATCHDOG_USEC}"`,
    { WATCHDOG_USEC },
    NOTHING,
  ]),
])('the settings from systemd %s', (_, env, expected) => expect(serviceEnv(env, 7)).toEqual(expected));

test('more than one socket from systemd is refused', () => {
  expect(() => serviceEnv({ LISTEN_PID: '7', LISTEN_FDS: '2' }, 7)).toThrow('LISTEN_FDS');
});
