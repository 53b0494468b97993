import { parseServiceArgs } from '../../../src/install/service/options.js';

test('without options the own user, the usual places, and a start', () => {
  expect(parseServiceArgs([])).toEqual({
    action: 'install',
    user: 'lmserv',
    envFile: '/etc/lmserv/lmserv.env',
    unitDir: '/etc/systemd/system',
    socket: false,
    start: true,
  });
});

test('each option', () => {
  const args = ['--user', 'me', '--env-file', '/a.env', '--unit-dir', '/units', '--socket', '--no-start'];
  expect(parseServiceArgs(args)).toEqual({
    action: 'install',
    user: 'me',
    envFile: '/a.env',
    unitDir: '/units',
    socket: true,
    start: false,
  });
});

test.each([
  [['--print'], 'print'],
  [['--uninstall'], 'uninstall'],
  [['--help', '--print'], 'help'],
])('%j: %s', (args, action) => {
  expect(parseServiceArgs(args).action).toBe(action);
});

test.each([
  [['--user', 'root'], '--user root'],
  [['--user', 'a b'], 'is no name of a user'],
  [['--user', '-x'], '--user'],
  [['--print', '--uninstall'], 'only one of them'],
  [['--what'], "Unknown option '--what'"],
])('%j is refused', (args, message) => {
  expect(() => parseServiceArgs(args)).toThrow(message);
});
