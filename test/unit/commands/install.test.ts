import { Command } from 'commander';
import { addInstallServiceCommand } from '../../../src/commands/install-service.js';
import { addModelCommand } from '../../../src/commands/model.js';
import { addSetupCommand } from '../../../src/commands/setup.js';
import { defaultJobs } from '../../../src/install/llama/setup.js';
import { quiet } from '../../support/command-line.js';

/** What the command was called with. */
let called: unknown[] | undefined;
beforeEach(() => (called = undefined));

function parse(...args: string[]): unknown[] | undefined {
  const program = quiet(new Command());
  const run = (...values: unknown[]) => void (called = values);
  addSetupCommand(program, run);
  addModelCommand(program, run);
  addInstallServiceCommand(program, run);
  program.parse(args, { from: 'user' });
  return called;
}

const SERVICE = { user: 'lmserv', envFile: '/etc/lmserv/lmserv.env', unitDir: '/etc/systemd/system' };
const SHA256 = 'AB'.repeat(32);

test.each<[string, unknown[]]>([
  ['setup', [{ gpu: 'auto', native: false, background: false, force: false }]],
  [
    'setup --gpu cuda --native --background --jobs 3 --tarball a.tgz b.tgz --force',
    [{ gpu: 'cuda', native: true, background: true, jobs: 3, tarball: ['a.tgz', 'b.tgz'], force: true }],
  ],
  [
    `model org/repo --name mine --sha256 ${SHA256}`,
    ['org/repo', { name: 'mine', sha256: SHA256.toLowerCase() }],
  ],
  ['install-service', [{ ...SERVICE, socket: false, start: true }]],
  [
    'install-service --user me --env-file /a.env --unit-dir /units --socket --no-start',
    [{ user: 'me', envFile: '/a.env', unitDir: '/units', socket: true, start: false }],
  ],
])('%s is parsed', (line, expected) => expect(parse(...line.split(' '))).toEqual(expected));

test.each(['print', 'uninstall'])('install-service --%s is parsed', (action) => {
  expect(parse('install-service', `--${action}`)).toMatchObject([{ [action]: true }]);
});

test.each([
  [['setup', '--gpu', 'rocm'], "'rocm' is invalid. Allowed choices are auto, cpu, cuda, vulkan, metal."],
  [['setup', '--jobs', '0'], "'0' is invalid. It must be a whole number from 1"],
  [['setup', '--jobs', 'many'], "'many' is invalid. It must be a whole number from 1"],
  [['setup', '--what'], "unknown option '--what'"],
  [['setup', 'extra'], 'too many arguments'],
  [['model'], "missing required argument 'model'"],
  [['model', 'a/b', 'c/d'], 'too many arguments'],
  [['model', 'a/b', '--sha256', 'zz'], 'It must be 64 hexadecimal digits'],
  [['model', 'a/b', '--bogus'], "unknown option '--bogus'"],
  [['install-service', '--user', 'root'], "--user <name>' argument 'root'"],
  [['install-service', '--user', 'a b'], 'not a valid user name'],
  [['install-service', '--user', '-x'], '--user'],
  [['install-service', '--print', '--uninstall'], "'--print' cannot be used with option '--uninstall'"],
  [['install-service', '--what'], "unknown option '--what'"],
])('%j is refused', (args, message) => expect(() => parse(...args)).toThrow(message));

test('setup runs at least one job, and at most as many as cores and memory allow', () => {
  expect([defaultJobs(2, 20e9), defaultJobs(16, 6.1e9), defaultJobs(8, 0.5e9)]).toEqual([2, 4, 1]);
});

test.each(['setup', 'model', 'install-service'])('%s --help shows the options and runs nothing', (name) => {
  expect(() => parse(name, '--help')).toThrow(
    expect.objectContaining({ code: 'commander.helpDisplayed', exitCode: 0 }),
  );
  expect(called).toBeUndefined();
});
