import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { install, printedUnit, uninstall, type Installation } from '../../../src/install/service/install.js';
import { copyBuild } from '../../../src/install/service/llama.js';
import type { System } from '../../../src/install/service/system.js';
import { ROOT } from '../../../src/config/root.js';

/** The installer's steps, over a machine that only notes what is run. */

const KNOWN: Record<string, string> = {
  'getent passwd lmserv': 'lmserv:x:990:991::/var/lib/lmserv:/usr/sbin/nologin',
  'getent passwd me': 'me:x:1000:1000::/home/me:/bin/sh',
};

let folder: string;
let root: string;
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
  const places = { envFile: join(folder, 'etc/lmserv.env'), unitDir: join(folder, 'units') };
  return {
    options: { user: 'lmserv', socket: false, start: true, ...places, ...options },
    ...{ root, node: '/usr/bin/node', programs: join(folder, 'programs'), temporary: [] },
    system: { ...system(), ...machine },
    say: (line) => void lines.push(line),
  };
}

const unit = (name: string) => join(folder, 'units', name);

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lmserv-service-'));
  root = join(folder, 'checkout');
  mkdirSync(join(root, 'deploy'), { recursive: true });
  mkdirSync(join(folder, 'etc'));
  mkdirSync(join(root, 'deploy/systemd'));
  for (const name of ['lmserv.service', 'lmserv.socket'])
    writeFileSync(join(root, 'deploy/systemd', name), readFileSync(join(ROOT, 'deploy/systemd', name)));
  // Nothing but the mock: no llama.cpp is needed.
  writeFileSync(join(root, '.env'), 'LLM_CONNECT_PROVIDER=mock\n');
  [ran, lines, failing] = [[], [], () => false];
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test('writes settings for root alone, with a key of their own, and the unit; then starts it', async () => {
  await install(installation());
  const settings = join(folder, 'etc/lmserv.env');
  expect(statSync(settings).mode & 0o777).toBe(0o600);
  expect(readFileSync(settings, 'utf8')).toMatch(/^API_KEY=[\w-]{32}$/m);
  expect(readFileSync(unit('lmserv.service'), 'utf8')).toContain(`EnvironmentFile=-${settings}`);
  expect(ran.filter((command) => command.startsWith('systemctl'))).toEqual([
    'systemctl daemon-reload',
    'systemctl enable lmserv.service',
    'systemctl restart lmserv.service',
  ]);
});

test('once more: settings stay, the unit is up to date', async () => {
  await install(installation());
  const settings = readFileSync(join(folder, 'etc/lmserv.env'), 'utf8');
  lines = [];
  await install(installation());
  expect(readFileSync(join(folder, 'etc/lmserv.env'), 'utf8')).toBe(settings);
  expect(lines.join('\n')).toMatch(/left unchanged[^]*is up to date/);
});

test('what the service will need is tried with its user’s rights', async () => {
  await install(installation());
  expect(ran).toContain(`/usr/bin/node ${join(root, 'dist/src/cli.js')} --version as 990:991`);
  expect(ran).toContain(`test -r ${join(root, '.env')} as 990:991`);
});

test.each([
  ['--version', 'cannot run /usr/bin/node'],
  ['test -r', 'cannot read'],
])('where `%s` fails, nothing is installed', async (part, message) => {
  failing = (command) => command.includes(part);
  await expect(install(installation())).rejects.toThrow(message);
  expect(existsSync(unit('lmserv.service'))).toBe(false);
});

test('the own user is made when it is not there, without a shell of its own', async () => {
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
  expect(readFileSync(unit('lmserv.service'), 'utf8')).toContain('\nUser=me\n');
});

test('a grace in the settings reaches the unit', async () => {
  writeFileSync(join(folder, 'etc/lmserv.env'), 'API_KEY=mine\nSHUTDOWN_GRACE_SECS=120\n');
  await install(installation({ start: false }));
  expect(readFileSync(unit('lmserv.service'), 'utf8')).toContain('TimeoutStopSec=135');
  expect(ran).not.toContain('systemctl restart lmserv.service');
});

test('a bad setting is told before anything is written', async () => {
  writeFileSync(join(folder, 'etc/lmserv.env'), 'PORT=eighty\n');
  await expect(install(installation())).rejects.toThrow('PORT');
  expect(existsSync(unit('lmserv.service'))).toBe(false);
});

test('an hf: model must have been fetched', async () => {
  writeFileSync(join(root, '.env'), 'LLM_MODEL_PATH=hf:org/model:Q4_0\n');
  await expect(install(installation())).rejects.toThrow('npm run model');
});

test('a socket takes the port when the server has let go of it', async () => {
  failing = (command) => command.includes('is-active');
  await install(installation({ socket: true }));
  expect(readFileSync(unit('lmserv.socket'), 'utf8')).toContain('ListenStream=0.0.0.0:8000');
  expect(ran.slice(-4)).toEqual([
    'systemctl is-active --quiet lmserv.socket',
    'systemctl stop lmserv.service',
    'systemctl start lmserv.socket',
    'systemctl restart lmserv.service',
  ]);
});

test('a socket that is open stays open', async () => {
  await install(installation({ socket: true }));
  expect(ran).not.toContain('systemctl stop lmserv.service');
});

test('without --socket an earlier one is removed', async () => {
  await install(installation({ socket: true }));
  await install(installation());
  expect(existsSync(unit('lmserv.socket'))).toBe(false);
  expect(ran).toContain('systemctl disable --now lmserv.service lmserv.socket');
});

test('uninstalling removes the units and leaves the settings', async () => {
  await install(installation({ socket: true }));
  await uninstall(installation());
  expect([existsSync(unit('lmserv.service')), existsSync(unit('lmserv.socket'))]).toEqual([false, false]);
  expect(existsSync(join(folder, 'etc/lmserv.env'))).toBe(true);
  lines = [];
  await uninstall(installation());
  expect(lines[0]).toContain('No lmserv.service is installed');
});

test.each([
  [{ booted: false }, 'systemd does not run this machine'],
  [{ privileged: false }, 'Only root'],
])('%j: nothing is done, and --print is named', async (machine, message) => {
  await expect(install(installation({}, machine))).rejects.toThrow(message);
  await expect(uninstall(installation({}, machine))).rejects.toThrow('--print');
  expect(ran).toEqual([]);
});

test('what systemctl says is passed on, with the log to look at', async () => {
  failing = (command) => command.startsWith('systemctl restart');
  await expect(install(installation())).rejects.toThrow(/it says why[^]*journalctl -u lmserv/);
});

test('printing needs neither root nor systemd', async () => {
  const text = await printedUnit(installation({ socket: true }, { privileged: false, booted: false }));
  expect(text).toContain('Type=notify');
  expect(text).toContain('ListenStream=');
});

test('a checkout in a temporary folder is refused, because the service would not see it', async () => {
  const refused = install({ ...installation(), temporary: [folder] });
  await expect(refused).rejects.toThrow(`${root} is in a temporary folder`);
});

test('a build is copied whole, once, and again when it has been made anew', async () => {
  const bin = join(folder, 'cache/0.5.0-cpu/bin');
  mkdirSync(bin, { recursive: true });
  const made = (text: string) => {
    for (const name of ['llama-cli', 'libllama.so']) writeFileSync(join(bin, name), text);
  };
  made('one');
  const copy = await copyBuild(join(bin, 'llama-cli'), join(folder, 'programs'));
  expect(readFileSync(join(copy, '../libllama.so'), 'utf8')).toBe('one');
  const { ino } = statSync(copy);
  await copyBuild(join(bin, 'llama-cli'), join(folder, 'programs'));
  expect(statSync(copy).ino).toBe(ino);
  made('another');
  await copyBuild(join(bin, 'llama-cli'), join(folder, 'programs'));
  expect(readFileSync(copy, 'utf8')).toBe('another');
});
