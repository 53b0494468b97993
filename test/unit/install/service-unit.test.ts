import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { renderService, renderSocket, type UnitOptions } from '../../../src/install/service/unit.js';
import { ROOT } from '../../../src/config/root.js';

const template = (name: string) => readFileSync(join(ROOT, 'deploy/systemd', name), 'utf8');

const OPTIONS: UnitOptions = {
  root: '/opt/lmserv',
  node: '/usr/bin/node',
  envFile: '/etc/lmserv/lmserv.env',
  user: 'lmserv',
  groups: [],
  protectHome: 'yes',
  shutdownGraceMs: 30_000,
  socket: false,
};

const service = (options: Partial<UnitOptions> = {}): string =>
  renderService(template('lmserv.service'), { ...OPTIONS, ...options });

/** The values of a setting, in order. */
const values = (unit: string, name: string): string[] =>
  unit
    .split('\n')
    .filter((line) => line.startsWith(`${name}=`))
    .map((line) => line.slice(name.length + 1));

test('the unit starts the server itself, without a shell or a launcher', () => {
  expect(values(service(), 'ExecStart')).toEqual(['"/usr/bin/node" "/opt/lmserv/dist/src/cli.js" serve']);
});

test('the unit contains no placeholder', () => {
  for (const unit of [service(), service({ socket: true })]) expect(unit).not.toMatch(/@[A-Z_]+@/);
});

test('paths with spaces, quotes, percent and dollar signs are escaped', () => {
  const unit = service({ root: '/srv/my "100%" $HOME', node: '/opt/no de' });
  expect(values(unit, 'ExecStart')).toEqual([
    '"/opt/no de" "/srv/my \\"100%%\\" $$HOME/dist/src/cli.js" serve',
  ]);
  expect(values(unit, 'WorkingDirectory')).toEqual(['/srv/my "100%%" $HOME']);
});

test.each([
  [30_000, '45'],
  [0, '15'],
  [1_500, '17'],
  [600_000, '615'],
])('with a grace of %d ms systemd waits %s s, more than LMServ needs', (shutdownGraceMs, secs) => {
  expect(values(service({ shutdownGraceMs }), 'TimeoutStopSec')).toEqual([secs]);
});

test('the unit names groups of GPU devices and a copied llama.cpp, if there are any', () => {
  expect(service()).not.toContain('SupplementaryGroups');
  expect(service()).not.toContain('LLM_BIN_PATH');
  const unit = service({ groups: ['render', 'video'], binary: '/usr/local/lib/lmserv/bin/llama-cli' });
  expect(values(unit, 'SupplementaryGroups')).toEqual(['render video']);
  expect(values(unit, 'Environment')[0]).toContain('"LLM_BIN_PATH=/usr/local/lib/lmserv/bin/llama-cli"');
});

test('the service requires a socket only if there is one', () => {
  expect(service()).not.toContain('lmserv.socket');
  const unit = service({ socket: true });
  expect(values(unit, 'Requires')).toEqual(['lmserv.socket']);
  expect(values(unit, 'Also')).toEqual(['lmserv.socket']);
});

test.each([
  ['0.0.0.0', '0.0.0.0:8000'],
  ['::', '[::]:8000'],
])('the socket listens on %s', (host, listen) => {
  const unit = renderSocket(template('lmserv.socket'), '/opt/lmserv', host, 8000);
  expect(values(unit, 'ListenStream')).toEqual([listen]);
});

test.each(['MemoryDenyWriteExecute', 'PrivateDevices', 'ProtectClock', 'DevicePolicy', 'ProcSubset'])(
  '%s is not set, because V8 or a GPU would not work',
  (name) => {
    expect(values(service(), name)).toEqual([]);
  },
);
