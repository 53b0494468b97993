import { execFile } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { renderService, renderSocket } from '../../src/install/service/unit.js';
import { ROOT } from '../../src/config/root.js';
import { emptyFolder } from '../support/folder.js';

/** What systemd itself says of the units. */

/** The exposure that is allowed: below 4 systemd speaks of "OK", up to 10 of "DANGEROUS". */
const MAX_EXPOSURE = 3;

const run = promisify(execFile);
const template = (name: string) => readFileSync(join(ROOT, 'deploy/systemd', name), 'utf8');

const folder = emptyFolder();
const service = join(folder, 'lmserv.service');

/** As the installer writes them, for a checkout whose path needs quoting. */
function write(socket: boolean): string[] {
  const root = join(folder, 'my 100% checkout');
  mkdirSync(join(root, 'dist/src'), { recursive: true });
  mkdirSync(join(root, 'docs'), { recursive: true });
  writeFileSync(join(root, 'dist/src/cli.js'), '');
  copyFileSync(join(ROOT, 'docs/systemd.md'), join(root, 'docs/systemd.md'));
  const unit = renderService(template('lmserv.service'), {
    ...{ root, node: process.execPath, envFile: '/etc/lmserv/lmserv.env', user: 'daemon', groups: [] },
    ...{ binary: '/usr/local/lib/lmserv/llama-cli', protectHome: 'yes', shutdownGraceMs: 30_000, socket },
  });
  writeFileSync(service, unit);
  if (!socket) return [service];
  const port = join(folder, 'lmserv.socket');
  writeFileSync(port, renderSocket(template('lmserv.socket'), root, '0.0.0.0', 8000));
  return [service, port];
}

test.each([
  ['alone', false],
  ['with its socket', true],
])('systemd-analyze verify reports nothing for the service %s', async (_, socket) => {
  const { stdout, stderr } = await run('systemd-analyze', ['verify', ...write(socket)]);
  expect(stdout + stderr).toBe('');
});

test(`the exposure of the service is at most ${MAX_EXPOSURE}`, async () => {
  write(false);
  const args = ['security', '--offline=true', '--no-pager', service];
  const { stdout } = await run('systemd-analyze', args);
  const exposure = Number(/Overall exposure level for \S+: (\d+(\.\d+)?)/.exec(stdout)?.[1]);
  process.stdout.write(`exposure of lmserv.service: ${exposure}\n`);
  expect(exposure).toBeLessThanOrEqual(MAX_EXPOSURE);
});
