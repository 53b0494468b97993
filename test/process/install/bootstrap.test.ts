import { cp, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { execa } from 'execa';
import { emptyFolder } from '../../support/folder.js';

const repository = path.resolve(import.meta.dirname, '../../..');
const folder = emptyFolder();
const root = path.join(folder, 'clone');
const CLI = path.join(root, 'src/cli.ts');
const LOCK = path.join(root, 'package-lock.json');
const NPM = path.join(folder, 'npm-cli.js');
const NPM_LOG = path.join(folder, 'npm.log');

/** npm that "installs" by linking this repository's own TypeScript, and counts how often. */
const FAKE_NPM = `
const fs = require('fs');
fs.appendFileSync(process.env.FAKE_LOG, process.argv.slice(2).join(' ') + '\\n');
if (process.env.FAKE_FAILS) { console.error('npm error code ENOTFOUND'); process.exit(1); }
fs.rmSync('node_modules', { recursive: true, force: true });
fs.mkdirSync('node_modules');
for (const name of ['typescript', '@types', 'undici-types']) {
  fs.symlinkSync(process.env.FAKE_MODULES + '/' + name, 'node_modules/' + name);
}`;

beforeEach(async () => {
  for (const name of [
    ...['scripts/bootstrap', 'scripts/bootstrap.mjs', 'src/install/early'],
    ...['tsconfig.json', 'tsconfig.build.json', 'package.json'],
  ])
    await cp(path.join(repository, name), path.join(root, name), { recursive: true });
  await writeFile(LOCK, lockFile('1.0.0'));
  await writeFile(CLI, "console.log('cli', JSON.stringify(process.argv.slice(2)));\n");
  await writeFile(NPM, FAKE_NPM);
  await writeFile(NPM_LOG, '');
});

const lockFile = (version: string) =>
  JSON.stringify({ packages: { '': {}, 'node_modules/typescript': { version } } });

const bootstrap = (args: string[], env: NodeJS.ProcessEnv = {}) =>
  execa(process.execPath, [path.join(root, 'scripts/bootstrap.mjs'), ...args], {
    cwd: folder,
    reject: false,
    env: {
      npm_execpath: NPM,
      FAKE_LOG: NPM_LOG,
      FAKE_MODULES: path.join(repository, 'node_modules'),
      LMSERV_CACHE_DIR: path.join(folder, 'cache'),
      ...env,
    },
  });

const npmCalls = async () => (await readFile(NPM_LOG, 'utf8')).split('\n').filter(Boolean);

test('a bare clone is installed and compiled, then the command runs; the second time it runs at once', async () => {
  const first = await bootstrap(['ask', '--file', 'a b']);
  expect(first.stdout).toBe('cli ["ask","--file","a b"]');
  expect(first.stderr).toMatch(/Installing dependencies: 100 %\nCompiled in/);
  const second = await bootstrap(['ask']);
  expect(second).toMatchObject({ stdout: 'cli ["ask"]', stderr: '', exitCode: 0 });
  expect(await npmCalls()).toEqual(['ci --include=dev --no-audit --no-fund']);
});

test.each(['setup', 'model', 'install-service'])(
  'npm run %s passes its options on to the command line',
  async (command) => {
    expect((await bootstrap([command, '--help'])).stdout).toBe(`cli ["${command}","--help"]`);
  },
);

test('a changed lock file is installed, and a changed source is compiled without what was removed', async () => {
  await writeFile(path.join(root, 'src/old.ts'), 'export const old = 1;\n');
  await bootstrap(['build']);
  await rm(path.join(root, 'src/old.ts'));
  await writeFile(CLI, "console.log('new');\n");
  await writeFile(LOCK, lockFile('1.0.1'));
  expect((await bootstrap(['ask'])).stdout).toBe('new');
  expect(await npmCalls()).toHaveLength(2);
  expect((await readdir(path.join(root, 'dist/src'))).sort()).toEqual([
    'cli.d.ts',
    'cli.js',
    'cli.js.map',
    'install',
  ]);
});

test('dependencies that npm has installed are used unchanged', async () => {
  await mkdir(path.join(root, 'node_modules'));
  await writeFile(path.join(root, 'node_modules/.package-lock.json'), lockFile('1.0.0'));
  for (const name of ['typescript', '@types', 'undici-types']) {
    await symlink(path.join(repository, 'node_modules', name), path.join(root, 'node_modules', name));
  }
  expect((await bootstrap(['ask'])).stdout).toBe('cli ["ask"]');
  expect(await npmCalls()).toEqual([]);
});

test('a deleted output is compiled again', async () => {
  await bootstrap(['build']);
  await rm(path.join(root, 'dist/src/cli.js'));
  expect((await bootstrap(['ask'])).stdout).toBe('cli ["ask"]');
});

test('two first starts at once install and compile once', async () => {
  const [one, other] = await Promise.all([bootstrap(['ask']), bootstrap(['ask'])]);
  expect([one.stdout, other.stdout]).toEqual(['cli ["ask"]', 'cli ["ask"]']);
  expect(await npmCalls()).toHaveLength(1);
  expect(`${one.stderr}${other.stderr}`.match(/Compiled in/g)).toHaveLength(1);
});

test('a failing npm is reported with its reason', async () => {
  const { exitCode, stderr } = await bootstrap(['ask'], { FAKE_FAILS: '1' });
  expect(exitCode).toBe(1);
  expect(stderr).toMatch(/npm error code ENOTFOUND\nInstalling dependencies \(npm ci\) failed/);
});

test('a source that does not compile stops the start with the compiler’s error, and the next start tries again', async () => {
  await bootstrap(['build']);
  await writeFile(CLI, 'const wrong = ;\n');
  for (const start of ['first', 'second']) {
    const { exitCode, stderr } = await bootstrap([start]);
    expect(exitCode).toBe(1);
    expect(stderr).toContain('src/cli.ts(1,15): error TS1109');
  }
});

test('a signal ends the bootstrap with its children and releases the lock', async () => {
  await writeFile(NPM, 'process.stdout.write("x"); setInterval(() => {}, 1000)');
  const running = bootstrap(['ask']);
  running.stderr.once('data', () => running.kill('SIGTERM'));
  const { exitCode, stderr } = await running;
  expect(exitCode).toBe(143);
  expect(stderr).toContain('Interrupted.');
  expect(await readdir(path.join(folder, 'cache/locks'))).toEqual([]);
});
