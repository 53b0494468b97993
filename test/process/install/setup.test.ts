import { mkdir, readdir, readFile, readlink, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { ensureLlama } from '../../../src/install/llama/ensure.js';
import { SetupError } from '../../../src/install/llama/context.js';
import { setup } from '../../../src/install/llama/setup.js';
import { resolveBinary } from '../../../workers/binary.js';
import { emptyFolder } from '../../support/folder.js';
import { BUILD_FAILS, BUILD_HANGS, BUILD_OK, FakeBuild } from '../support/fake-build.js';
import { FileServer } from '../support/file-server.js';
import { writeProgram } from '../support/programs.js';

const folder = emptyFolder();
const buildLink = path.join(folder, 'checkout/vendor/llama.cpp/build');
let fake: FakeBuild;

beforeEach(async () => {
  fake = await FakeBuild.make(folder);
});

/** The report of a setup that must fail. */
async function reportOf(promise: Promise<unknown>): Promise<string> {
  const error: unknown = await promise.catch((failure: unknown) => failure);
  if (!(error instanceof SetupError)) throw new Error(`Expected a SetupError, got ${String(error)}`);
  return error.message;
}

/** A setup that builds. */
const expectBuilt = (options = fake.options()) =>
  expect(setup(options)).resolves.toMatchObject({ cached: false });

/** Starts a build that hangs, and stops it once it has got half way. */
async function interruptHalfway(): Promise<void> {
  fake.cmake(BUILD_HANGS);
  const controller = new AbortController();
  const stop = new Error('stopped');
  const options = fake.options({ signal: controller.signal });
  options.output?.on('data', (text: string) => {
    if (text.includes('50 %')) controller.abort(stop);
  });
  await expect(setup(options)).rejects.toBe(stop);
}

test('a build puts both programs into the checkout and shows its progress', async () => {
  const options = fake.options();
  const { binary, flavour, cached } = await setup(options);
  expect({ flavour, cached }).toEqual({ flavour: 'cpu', cached: false });
  expect(binary).toBe(path.join(buildLink, 'bin/llama-cli'));
  await expect(resolveBinary({ root: fake.root })).resolves.toMatchObject({ path: binary });
  expect(await readdir(path.dirname(binary))).toEqual(['llama-cli', 'llama-server']);
  expect(options.written()).toMatch(
    /Building llama\.cpp \(cpu\): 50 %.*\nBuilding llama\.cpp \(cpu\): 100 %/,
  );
});

test('after a build the programs, the log and the source are kept, but neither tarball nor bundle', async () => {
  await setup(fake.options());
  const base = path.join(fake.cache, 'llama.cpp');
  const build = await readlink(buildLink);
  expect((await readdir(build)).sort()).toEqual(['bin', 'lmserv-build.json']);
  expect((await readdir(base)).sort()).toEqual(
    [path.basename(build), `${path.basename(build)}.log`, '0.5.0-cccccccc-source'].sort(),
  );
});

test('a second checkout gets the build of the cache', async () => {
  await setup(fake.options());
  const other = path.join(folder, 'other');
  await mkdir(path.join(other, 'vendor'), { recursive: true });
  const pin = await readFile(path.join(fake.root, 'vendor/llama.cpp.json'));
  await writeFile(path.join(other, 'vendor/llama.cpp.json'), pin);
  await expect(setup(fake.options({ root: other }))).resolves.toMatchObject({ cached: true });
  expect(await fake.calls()).toEqual(['clone', 'configure', 'build']);
  await expect(resolveBinary({ root: other })).resolves.toMatchObject({ kind: 'llama-cli' });
});

test('two setups at once build once, and the one that waits says so', async () => {
  const [one, other] = [fake.options(), fake.options()];
  const results = await Promise.all([setup(one), setup(other)]);
  expect(results.map(({ cached }) => cached).sort()).toEqual([false, true]);
  expect(await fake.calls()).toEqual(['clone', 'configure', 'build']);
  expect(one.written() + other.written()).toContain('Another setup');
});

test('--force builds again', async () => {
  await setup(fake.options());
  await expectBuilt(fake.options({ force: true }));
  expect(await fake.calls()).toEqual(['clone', 'configure', 'build', 'clone', 'configure', 'build']);
});

test('each flavour has its own folder and build', async () => {
  fake.fake('glslc', 'exit 0');
  await setup(fake.options());
  const { binary } = await setup(fake.options({ gpu: 'vulkan' }));
  expect(binary).toBe(path.join(fake.root, 'vendor/llama.cpp/build-vulkan/bin/llama-cli'));
  expect(await fake.calls()).toEqual(['clone', 'configure', 'build', 'configure', 'build']);
});

test('auto takes CUDA when there are a GPU and nvcc', async () => {
  const capability = `case "$1" in -L) echo 'GPU 0: some' ;; *) echo 9.0 ;; esac`;
  fake.fake('nvidia-smi', capability);
  fake.fake('nvcc', 'exit 0');
  fake.cmake(BUILD_OK, 'mkdir -p "$4"; echo "$@" > "$FAKES/flags"');
  await expect(setup(fake.options({ gpu: 'auto', machine: undefined }))).resolves.toMatchObject({
    flavour: 'cuda',
  });
  const flags = await readFile(path.join(folder, 'fakes/flags'), 'utf8');
  expect(flags).toContain('-DGGML_CUDA=ON');
  expect(flags).toContain('-DCMAKE_CUDA_ARCHITECTURES=90');
});

test('a failed build is reported on one screen with its first error, its log and what to do', async () => {
  fake.cmake(BUILD_FAILS);
  const report = await reportOf(setup(fake.options()));
  expect(report).toContain('Building llama.cpp failed:');
  expect(report).toContain('/src/llama.cpp:7:1: error: boom');
  expect(report.split('\n').length).toBeLessThan(24);
  const log = /The full log: (.*)/.exec(report)?.[1] ?? '';
  expect(await readFile(log, 'utf8')).toContain('$ cmake --build');
  await expect(resolveBinary({ root: fake.root })).rejects.toMatchObject({ code: 'missing' });
});

test('the run after a failure builds without cloning the source again', async () => {
  fake.cmake(BUILD_FAILS);
  await reportOf(setup(fake.options()));
  fake.cmake(BUILD_OK);
  await expectBuilt();
  expect((await fake.calls()).filter((call) => call === 'clone')).toHaveLength(1);
});

test('an interrupted build ends with all its processes and continues in the same folder', async () => {
  await interruptHalfway();
  fake.cmake(`[ -f "$2/half-done.o" ] || exit 3\n${BUILD_OK}`);
  await expectBuilt();
});

test('a build folder that cmake no longer accepts is created again', async () => {
  await interruptHalfway();
  fake.cmake(BUILD_OK, '[ -f "$4/CMakeCache.txt" ] && exit 1; mkdir -p "$4"');
  await expectBuilt();
});

test('an interrupted clone is started again', async () => {
  fake.git('exit 0', 'mkdir -p "$4"; echo "fatal: no space" >&2; exit 128');
  expect(await reportOf(setup(fake.options()))).toContain('fatal: no space');
  fake.git(`echo ${'c'.repeat(40)}`, '[ -e "$4" ] && exit 128; mkdir -p "$4"');
  await expectBuilt();
});

test('a source at another commit than the pinned one is refused', async () => {
  fake.git('echo 1234');
  expect(await reportOf(setup(fake.options()))).toContain('The source is at commit 1234');
});

test('a tarball other than the pinned one is refused', async () => {
  await writeFile(fake.tarball, 'something else');
  expect(await reportOf(setup(fake.options()))).toContain('is not one of the pinned packages');
  expect(await fake.calls()).toEqual([]);
});

test('all missing programs are named at once with the line that installs them', async () => {
  const bin = path.join(folder, 'bin');
  writeProgram(path.join(bin, 'apt-get'), 'exit 0');
  writeProgram(path.join(bin, 'git'), 'exit 0');
  const report = await reportOf(setup(fake.options({ env: { ...fake.env, PATH: bin } })));
  expect(report).toContain('needs cmake, a C++ compiler, make.');
  expect(report).toMatch(/ apt install cmake g\+\+ make\n/);
});

test('a folder of the user where the link belongs is left alone', async () => {
  const own = buildLink;
  await mkdir(own, { recursive: true });
  await writeFile(path.join(own, 'mine'), 'mine');
  expect(await reportOf(setup(fake.options()))).toContain('is not a link that setup made');
  expect(await readdir(own)).toEqual(['mine']);
});

test('a link to an older build is replaced', async () => {
  const link = buildLink;
  await mkdir(path.dirname(link), { recursive: true });
  await symlink('/nowhere', link);
  await setup(fake.options());
  expect(await readlink(link)).toContain(fake.cache);
});

describe('from the registry', () => {
  let server: FileServer;
  beforeEach(async () => {
    server = await FileServer.start();
  });

  /** An npm that knows where the tarball is, and packs it only if told. */
  async function fakeNpm(pack: string): Promise<NodeJS.ProcessEnv> {
    const cli = path.join(folder, 'npm-cli.js');
    const url = server.url('/package.tgz');
    await writeFile(cli, `if (process.argv[2] === 'view') console.log('${url}'); else { ${pack} }`);
    return { ...fake.env, npm_execpath: cli };
  }

  test('the tarball is downloaded from where npm says', async () => {
    server.files.set('/package.tgz', { body: await readFile(fake.tarball) });
    const env = await fakeNpm('process.exit(1)');
    await expectBuilt(fake.options({ env, tarballs: [] }));
    expect(server.seen).toHaveLength(1);
  });

  test('npm pack is tried when the download fails', async () => {
    const destination = 'process.argv[process.argv.indexOf("--pack-destination") + 1]';
    const env = await fakeNpm(`require('fs').copyFileSync('${fake.tarball}', ${destination} + '/p.tgz')`);
    await expectBuilt(fake.options({ env, tarballs: [] }));
  });

  test('the report of a failure of both says how to install without a network', async () => {
    const env = await fakeNpm('process.exit(1)');
    const report = await reportOf(setup(fake.options({ env, tarballs: [] })));
    expect(report).toContain('returned 404');
    expect(report).toContain('npm run setup -- --tarball FILE');
  });
});

describe('at npm start', () => {
  test('a usable binary means no build', async () => {
    writeProgram(path.join(buildLink, 'bin/llama-cli'), 'echo "--server-base URL"');
    await expect(ensureLlama(fake.options())).resolves.toBe(true);
    expect(await fake.calls()).toEqual([]);
  });

  test('without a usable binary one is built, with the reason', async () => {
    fake.fake('llama-cli', 'echo "-i, --interactive"');
    const options = fake.options();
    await expect(ensureLlama(options)).resolves.toBe(true);
    expect(options.written()).toMatch(/^Not used: .*fakes\/llama-cli is too old/);
    await expect(resolveBinary({ root: fake.root })).resolves.toMatchObject({ kind: 'llama-cli' });
  });

  test('a build that fails is reported and stops the start', async () => {
    fake.cmake(BUILD_FAILS);
    const options = fake.options();
    await expect(ensureLlama(options)).resolves.toBe(false);
    expect(options.written()).toContain('/src/llama.cpp:7:1: error: boom');
  });

  test.each(['environment', '.env'])(
    'a configured binary that is not usable stops the start (%s)',
    async (where) => {
      const env = { ...fake.env, ...(where === '.env' ? {} : { LLM_BIN_PATH: '/nowhere' }) };
      if (where === '.env') await writeFile(path.join(fake.root, '.env'), 'LLM_BIN_PATH=/nowhere\n');
      const options = fake.options({ env });
      await expect(ensureLlama(options)).resolves.toBe(false);
      expect(options.written()).toMatch(/^LLM_BIN_PATH: there is no file \/nowhere.*\n$/);
      expect(await fake.calls()).toEqual([]);
    },
  );
});
