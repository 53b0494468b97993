import { Command } from 'commander';
import { addInstallServiceCommand, type ServiceFlags } from '../../../src/commands/install-service.js';
import { addModelCommand, type ModelFlags } from '../../../src/commands/model.js';
import { addSetupCommand, type SetupFlags } from '../../../src/commands/setup.js';
import { defaultJobs } from '../../../src/install/llama/setup.js';
import { quiet } from '../../support/command-line.js';

describe('setup', () => {
  function parse(...args: string[]): SetupFlags | undefined {
    const program = quiet(new Command());
    let parsed: SetupFlags | undefined;
    addSetupCommand(program, (flags) => void (parsed = flags));
    program.parse(['setup', ...args], { from: 'user' });
    return parsed;
  }

  test('detects the flavour by default', () => {
    expect(parse()).toEqual({ gpu: 'auto', force: false });
  });

  test('takes a flavour, jobs, a tarball and --force', () => {
    expect(parse('--gpu', 'cuda', '--jobs', '3', '--tarball', '/a.tgz', '--force')).toEqual({
      gpu: 'cuda',
      jobs: 3,
      tarball: '/a.tgz',
      force: true,
    });
  });

  test.each([
    [['--gpu', 'rocm'], "'rocm' is invalid. Allowed choices are auto, cpu, cuda, vulkan, metal."],
    [['--jobs', '0'], "'0' is invalid. It must be a whole number from 1"],
    [['--jobs', 'many'], "'many' is invalid. It must be a whole number from 1"],
    [['--what'], "unknown option '--what'"],
    [['extra'], 'too many arguments'],
  ])('refuses %j', (args, message) => {
    expect(() => parse(...args)).toThrow(message);
  });

  test('runs at least one job, bounded by cores and memory', () => {
    expect([defaultJobs(2, 20e9), defaultJobs(16, 6.1e9), defaultJobs(8, 0.5e9)]).toEqual([2, 4, 1]);
  });
});

describe('model', () => {
  function parse(...args: string[]): (ModelFlags & { spec: string }) | undefined {
    const program = quiet(new Command());
    let parsed: (ModelFlags & { spec: string }) | undefined;
    addModelCommand(program, (spec, flags) => void (parsed = { spec, ...flags }));
    program.parse(['model', ...args], { from: 'user' });
    return parsed;
  }

  test('takes a model, a name and a checksum', () => {
    const sha256 = 'AB'.repeat(32);
    expect(parse('org/repo', '--name', 'mine', '--sha256', sha256)).toEqual({
      spec: 'org/repo',
      name: 'mine',
      sha256: sha256.toLowerCase(),
    });
  });

  test.each([
    [[], "missing required argument 'model'"],
    [['a/b', 'c/d'], 'too many arguments'],
    [['a/b', '--sha256', 'zz'], 'It must be 64 hexadecimal digits'],
    [['a/b', '--bogus'], "unknown option '--bogus'"],
  ])('refuses %j', (args, message) => {
    expect(() => parse(...args)).toThrow(message);
  });
});

describe('install-service', () => {
  function parse(...args: string[]): ServiceFlags | undefined {
    const program = quiet(new Command());
    let parsed: ServiceFlags | undefined;
    addInstallServiceCommand(program, (flags) => void (parsed = flags));
    program.parse(['install-service', ...args], { from: 'user' });
    return parsed;
  }

  test('uses its own user and the usual folders by default, and starts the service', () => {
    expect(parse()).toEqual({
      user: 'lmserv',
      envFile: '/etc/lmserv/lmserv.env',
      unitDir: '/etc/systemd/system',
      socket: false,
      start: true,
    });
  });

  test('takes each option', () => {
    const args = ['--user', 'me', '--env-file', '/a.env', '--unit-dir', '/units', '--socket', '--no-start'];
    expect(parse(...args)).toEqual({
      user: 'me',
      envFile: '/a.env',
      unitDir: '/units',
      socket: true,
      start: false,
    });
  });

  test.each(['print', 'uninstall'])('takes --%s', (action) => {
    expect(parse(`--${action}`)).toMatchObject({ [action]: true });
  });

  test.each([
    [['--user', 'root'], "--user <name>' argument 'root'"],
    [['--user', 'a b'], 'not a valid user name'],
    [['--user', '-x'], '--user'],
    [['--print', '--uninstall'], "'--print' cannot be used with option '--uninstall'"],
    [['--what'], "unknown option '--what'"],
  ])('refuses %j', (args, message) => {
    expect(() => parse(...args)).toThrow(message);
  });
});

test.each(['setup', 'model', 'install-service'])('%s --help shows the options and runs nothing', (name) => {
  const program = quiet(new Command());
  const run = () => {
    throw new Error('It ran.');
  };
  addSetupCommand(program, run);
  addModelCommand(program, run);
  addInstallServiceCommand(program, run);
  expect(() => program.parse([name, '--help'], { from: 'user' })).toThrow(
    expect.objectContaining({ code: 'commander.helpDisplayed', exitCode: 0 }),
  );
});
