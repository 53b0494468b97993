import { cpSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { install, printedUnit, uninstall, type Installation } from '../../../src/install/service/install.js';
import { copyBuild } from '../../../src/install/service/llama.js';
import type { System } from '../../../src/install/service/system.js';
import { ROOT } from '../../../src/config/root.js';
import { emptyFolder, modeOf } from '../../support/folder.js';

/** The installer's steps, on a machine that only records the commands. */

const KNOWN: Record<string, string> = {
  'getent passwd lmserv': 'lmserv:x:990:991::/var/lib/lmserv:/usr/sbin/nologin',
  'getent passwd me': 'me:x:1000:1000::/home/me:/bin/sh',
};

const folder = emptyFolder();
const root = join(folder, 'checkout');
const envFile = join(folder, 'etc/lmserv.env');
let ran: string[];
let failing: (command: string) => boolean;
let lines: string[];

function system(): System {
  return {
    privileged: true,
    booted: true,
    run: async (program, args, as) => {
      const command = [program, ...args].join(' ');
      ran.push(as ? `${command} as ${as.uid}:${as.gid}` : command);
      const missing = program === 'getent' && KNOWN[command] === undefined;
      const ok = !missing && !failing(command);
      return { ok, stdout: KNOWN[command] ?? '', reason: ok ? '' : 'it says why' };
    },
  };
}

function installation(options: object = {}, machine: Partial<System> = {}): Installation {
  const places = { envFile, unitDir: join(folder, 'units') };
  return {
    options: { user: 'lmserv', socket: false, start: true, ...places, ...options },
    ...{ root, node: '/usr/bin/node', programs: join(folder, 'programs'), temporary: [] },
    system: { ...system(), ...machine },
    say: (line) => void lines.push(line),
  };
}

const unit = (name: string) => join(folder, 'units', name);
const read = (file: string) => readFileSync(file, 'utf8');

beforeEach(() => {
  cpSync(join(ROOT, 'deploy/systemd'), join(root, 'deploy/systemd'), { recursive: true });
  mkdirSync(join(folder, 'etc'));
  // With the mock no llama.cpp is needed.
  writeFileSync(join(root, '.env'), 'LLM_CONNECT_PROVIDER=mock\n');
  [ran, lines, failing] = [[], [], () => false];
});

test('installing writes the unit and settings with a new key for root only, and starts the service', async () => {
  await install(installation());
  expect(modeOf(envFile)).toBe('600');
  expect(read(envFile)).toMatch(/^API_KEY=[\w-]{32}$/m);
  expect(read(unit('lmserv.service'))).toContain(`EnvironmentFile=-${envFile}`);
  expect(ran.filter((command) => command.startsWith('systemctl'))).toEqual([
    'systemctl daemon-reload',
    'systemctl enable lmserv.service',
    'systemctl restart lmserv.service',
  ]);
});

test('installing again leaves the settings and an up-to-date unit unchanged', async () => {
  await install(installation());
  const settings = read(envFile);
  lines = [];
  await install(installation());
  expect(read(envFile)).toBe(settings);
  expect(lines.join('\n')).toMatch(/left unchanged[^]*is up to date/);
});

test('what the service needs is tried with its user’s rights', async () => {
  await install(installation());
  expect(ran).toContain(`/usr/bin/node ${join(root, 'dist/src/cli.js')} --version as 990:991`);
  expect(ran).toContain(`test -r ${join(root, '.env')} as 990:991`);
});

test.each([
  ['--version', 'cannot run /usr/bin/node'],
  ['test -r', 'cannot read'],
])('nothing is installed when `%s` fails', async (part, message) => {
  failing = (command) => command.includes(part);
  await expect(install(installation())).rejects.toThrow(message);
  expect(existsSync(unit('lmserv.service'))).toBe(false);
});

test('a missing user is created, without a shell', async () => {
  let made = false;
  const machine = system();
  const run: System['run'] = async (program, args, as) => {
    made ||= program === 'useradd';
    if (program === 'getent' && !made) return { ok: false, stdout: '', reason: '' };
    return machine.run(program, args, as);
  };
  await install(installation({}, { run }));
  const [useradd] = ran.filter((command) => command.startsWith('useradd'));
  expect(useradd).toMatch(/--system .*--shell \/usr\/sbin\/nologin lmserv$/);
});

test('another user must exist', async () => {
  await expect(install(installation({ user: 'nobody-here' }))).rejects.toThrow('no such user exists');
  await install(installation({ user: 'me' }));
  expect(read(unit('lmserv.service'))).toContain('\nUser=me\n');
});

test('the grace in the settings sets the unit’s timeout', async () => {
  writeFileSync(envFile, 'API_KEY=mine\nSHUTDOWN_GRACE_SECS=120\n');
  await install(installation({ start: false }));
  expect(read(unit('lmserv.service'))).toContain('TimeoutStopSec=135');
  expect(ran).not.toContain('systemctl restart lmserv.service');
});

test('an invalid setting is reported before anything is written', async () => {
  writeFileSync(envFile, 'PORT=eighty\n');
  await expect(install(installation())).rejects.toThrow('PORT');
  expect(existsSync(unit('lmserv.service'))).toBe(false);
});

test('an hf: model must be downloaded already', async () => {
  writeFileSync(join(root, '.env'), 'LLM_MODEL_PATH=hf:org/model:Q4_0\n');
  await expect(install(installation())).rejects.toThrow('npm run model');
});

test('a socket opens the port after the server has released it', async () => {
  failing = (command) => command.includes('is-active');
  await install(installation({ socket: true }));
  expect(read(unit('lmserv.socket'))).toContain('ListenStream=0.0.0.0:8000');
  expect(ran.slice(-4)).toEqual([
    'systemctl is-active --quiet lmserv.socket',
    'systemctl stop lmserv.service',
    'systemctl start lmserv.socket',
    'systemctl restart lmserv.service',
  ]);
});

test('an open socket stays open', async () => {
  await install(installation({ socket: true }));
  expect(ran).not.toContain('systemctl stop lmserv.service');
});

test('installing without --socket removes an earlier socket', async () => {
  await install(installation({ socket: true }));
  await install(installation());
  expect(existsSync(unit('lmserv.socket'))).toBe(false);
  expect(ran).toContain('systemctl disable --now lmserv.service lmserv.socket');
});

test('uninstalling removes the units and leaves the settings', async () => {
  await install(installation({ socket: true }));
  await uninstall(installation());
  expect([existsSync(unit('lmserv.service')), existsSync(unit('lmserv.socket'))]).toEqual([false, false]);
  expect(existsSync(envFile)).toBe(true);
  lines = [];
  await uninstall(installation());
  expect(lines[0]).toContain('No lmserv.service is installed');
});

test.each([
  [{ booted: false }, 'systemd does not run this machine'],
  [{ privileged: false }, 'Only root'],
])('with %j nothing is done, and the error names --print', async (machine, message) => {
  await expect(install(installation({}, machine))).rejects.toThrow(message);
  await expect(uninstall(installation({}, machine))).rejects.toThrow('--print');
  expect(ran).toEqual([]);
});

test('a failure of systemctl is reported with its message and the log to read', async () => {
  failing = (command) => command.startsWith('systemctl restart');
  await expect(install(installation())).rejects.toThrow(/it says why[^]*journalctl -u lmserv/);
});

test('printing needs neither root nor systemd', async () => {
  const text = await printedUnit(installation({ socket: true }, { privileged: false, booted: false }));
  expect(text).toContain('Type=notify');
  expect(text).toContain('ListenStream=');
});

test('a checkout in a temporary folder, which the service would not see, is refused', async () => {
  const refused = install({ ...installation(), temporary: [folder] });
  await expect(refused).rejects.toThrow(`${root} is in a temporary folder`);
});

test('a build is copied completely, and again only after it has changed', async () => {
  const bin = join(folder, 'cache/0.5.0-cpu/bin');
  mkdirSync(bin, { recursive: true });
  const build = (text: string) => {
    for (const name of ['llama-cli', 'libllama.so']) writeFileSync(join(bin, name), text);
  };
  const copied = () => copyBuild(join(bin, 'llama-cli'), join(folder, 'programs'));
  build('one');
  const copy = await copied();
  expect(read(join(copy, '../libllama.so'))).toBe('one');
  const { ino } = statSync(copy);
  await copied();
  expect(statSync(copy).ino).toBe(ino);
  build('another');
  await copied();
  expect(read(copy)).toBe('another');
});
