import { mkdir, readdir, readFile, readlink, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { ensureLlama } from '../../../src/install/llama/ensure.js';
import { setup } from '../../../src/install/llama/setup.js';
import { resolveBinary } from '../../../workers/binary.js';
import { emptyFolder } from '../../support/folder.js';
import { BARE, COMPILE_FAILS, COMPILE_HANGS, FakeBuild } from '../support/fake-build.js';
import { FileServer } from '../support/file-server.js';
import { LLAMA_CLI, writeProgram } from '../support/programs.js';

const folder = emptyFolder();
const buildLink = path.join(folder, 'checkout/vendor/llama.cpp/build');
let fake: FakeBuild;

beforeEach(async () => {
  fake = await FakeBuild.make(folder);
});

/** What is compiled for a first build; the two models are one. */
const ALL = ['hash', 'tools-cli-cli', 'tools-mtmd-clip', 'tools-mtmd-models-one'].concat([
  'tools-server-server-a',
  'tools-server-server-b',
  'ui',
]);

const expectBuilt = (options = fake.prebuilt()) =>
  expect(setup(options)).resolves.toMatchObject({
    cached: false,
    label: expect.stringContaining('prebuilt'),
  });

const inBin = (name: string) => path.join(buildLink, 'bin', name);

test('programs and libraries are put into the checkout without cmake, and the progress counts files', async () => {
  const options = fake.prebuilt();
  await expectBuilt(options);
  expect(await fake.calls()).toEqual(['clone']);
  expect(await fake.compiled()).toEqual(ALL);
  expect(await readdir(path.join(buildLink, 'bin'))).toEqual(['libllama.so', 'llama-cli', 'llama-server']);
  await expect(resolveBinary({ root: fake.root })).resolves.toMatchObject({ path: inBin('llama-cli') });
  expect(options.written()).toMatch(/Compiling llama\.cpp: 100 % \(10 of 10 files, 0:00 left\)/);
});

test('another flavour of the same version is only linked', async () => {
  await expectBuilt();
  await expectBuilt(fake.prebuilt({ gpu: 'vulkan' }));
  expect(await fake.compiled()).toEqual(ALL);
  const library = path.join(`${buildLink}-vulkan`, 'bin/libllama.so');
  expect(await readFile(library, 'utf8')).toBe('vulkan');
});

test('two clones at once compile once', async () => {
  const other = path.join(folder, 'other');
  await mkdir(path.join(other, 'vendor'), { recursive: true });
  const pin = await readFile(path.join(fake.root, 'vendor/llama.cpp.json'));
  await writeFile(path.join(other, 'vendor/llama.cpp.json'), pin);
  const results = await Promise.all([setup(fake.prebuilt()), setup(fake.prebuilt({ root: other }))]);
  expect(results.map(({ cached }) => cached).sort()).toEqual([false, true]);
  expect(await fake.compiled()).toEqual(ALL);
});

test('a file that does not compile is reported, and the next run compiles only what is left', async () => {
  fake.compiler(COMPILE_FAILS);
  await expect(setup(fake.prebuilt({ jobs: 1 }))).rejects.toThrow(/server-b\.cpp:7:1: error: boom/);
  await expect(resolveBinary({ root: fake.root })).rejects.toMatchObject({ code: 'missing' });
  fake.compiler();
  await expectBuilt();
  expect(await fake.compiled()).toEqual([...ALL, 'tools-server-server-b'].sort());
});

test('an interrupted compilation ends with its compilers and continues where it stopped', async () => {
  fake.compiler(COMPILE_HANGS);
  const controller = new AbortController();
  const stop = new Error('stopped');
  const options = fake.prebuilt({ signal: controller.signal });
  options.output?.on('data', (text: string) => {
    if (/Compiling/.test(text)) controller.abort(stop);
  });
  await expect(setup(options)).rejects.toBe(stop);
  const before = await fake.compiled();
  fake.compiler();
  await expectBuilt();
  const after = await fake.compiled();
  expect(new Set(after)).toEqual(new Set(ALL));
  expect(before).not.toEqual([]);
  // Both compilers may have been stopped in the middle.
  expect(after.length).toBeLessThanOrEqual(ALL.length + 2);
});

test('libraries that cannot be loaded here are given up before anything is compiled, for a whole build', async () => {
  fake.compiler(undefined, 'echo "libllama.so: version GLIBC_2.34 not found" >&2; exit 1');
  const options = fake.prebuilt();
  await expect(setup(options)).resolves.toMatchObject({ label: expect.stringContaining('all compiled') });
  expect(options.written()).toContain('GLIBC_2.34 not found');
  expect(await fake.compiled()).toEqual([]);
  expect(await fake.calls()).toEqual(['clone', 'configure', 'build']);
});

test('a platform without libraries gets a whole build, and a line that says why', async () => {
  const options = fake.prebuilt({ machine: { ...BARE, platform: 'linux-riscv64' } });
  await expect(setup(options)).resolves.toMatchObject({ label: expect.stringContaining('all compiled') });
  expect(options.written()).toContain('no prebuilt libraries for this on linux-riscv64');
});

describe('a GPU that auto finds', () => {
  const machine = { ...BARE, renderNode: true, vulkanDrivers: ['/etc/vulkan/icd.d/some.json'] };
  const listing = (device: string) =>
    fake.fake(
      'made/llama-cli',
      `[ "$1" = --list-devices ] && { echo "Available devices:"; echo "${device}"; exit; }\n${LLAMA_CLI}`,
    );

  test('is used if llama.cpp lists it', async () => {
    listing('  Vulkan0: Some GPU (8000 MiB, 7000 MiB free)');
    const options = fake.prebuilt({ gpu: 'auto', machine });
    await expect(setup(options)).resolves.toMatchObject({ flavour: 'vulkan' });
    expect(options.written()).toContain('llama.cpp for Vulkan: a GPU and a Vulkan driver.');
  });

  test.each(['  (none)', '  Vulkan0: llvmpipe (LLVM 15.0.6, 256 bits) (2048 MiB, 2048 MiB free)'])(
    'is not used if llama.cpp lists %j, and no link leads to its build',
    async (listed) => {
      listing(listed);
      const options = fake.prebuilt({ gpu: 'auto', machine });
      await expect(setup(options)).resolves.toMatchObject({ flavour: 'cpu' });
      expect(options.written()).toContain('Vulkan lists no device here.');
      expect(await readdir(path.dirname(buildLink))).toEqual(['build', 'source']);
    },
  );
});

describe('a build', () => {
  const damages: Array<[string, () => Promise<void>]> = [
    ['lost a library', () => rm(inBin('libllama.so'))],
    ['has a truncated library', () => truncate(inBin('libllama.so'), 1)],
    ['lost a program', () => rm(inBin('llama-server'))],
  ];

  test.each(damages)('that %s is made again, without compiling', async (_, damage) => {
    await setup(fake.prebuilt());
    await damage();
    await expectBuilt();
    expect(await readFile(inBin('libllama.so'), 'utf8')).toBe('cpu');
    expect(await fake.compiled()).toEqual(ALL);
  });

  test('that lost a library is made again at npm start', async () => {
    await setup(fake.prebuilt());
    await rm(inBin('libllama.so'));
    const options = fake.prebuilt();
    await expect(ensureLlama(options)).resolves.toBe(true);
    expect(options.written()).toContain('has lost or changed a file');
    expect(await readFile(inBin('libllama.so'), 'utf8')).toBe('cpu');
  });

  test('of your own that the link leads to is left alone', async () => {
    const own = path.join(folder, 'own');
    writeProgram(path.join(own, 'bin/llama-cli'), LLAMA_CLI);
    await mkdir(path.dirname(buildLink), { recursive: true });
    await symlink(own, buildLink);
    await expect(setup(fake.prebuilt())).rejects.toThrow('is not a link that setup made');
    expect(await readlink(buildLink)).toBe(own);
    expect(await fake.calls()).toEqual([]);
  });
});

describe('a missing compiler', () => {
  const INSTALLS = 'echo "$@" >> "$FAKES/installed"; mv "$FAKES/hidden" "$FAKES/c++"';

  /** A machine whose package manager installs the compiler; its search path has nothing else. */
  async function withoutCompiler() {
    const fakes = path.join(folder, 'fakes');
    for (const program of ['sh', 'mv', 'cp', 'cat', 'mkdir', 'basename', 'chmod', 'sleep'])
      await symlink(`/bin/${program}`, path.join(fakes, program));
    await writeFile(path.join(fakes, 'hidden'), await readFile(path.join(fakes, 'c++')), { mode: 0o755 });
    await rm(path.join(fakes, 'c++'));
    fake.fake('apt-get', 'exit 1');
    fake.fake('apt', INSTALLS);
    fake.fake('sudo', 'exec "$@"');
    return { ...fake.env, PATH: fakes };
  }

  const installed = () => readFile(path.join(folder, 'fakes/installed'), 'utf8').catch(() => '');

  test('is installed if the user agrees, and the build goes on', async () => {
    const env = await withoutCompiler();
    const questions: string[] = [];
    const confirm = async (question: string) => questions.push(question) > 0;
    await expectBuilt(fake.prebuilt({ env, confirm }));
    expect(questions.join()).toMatch(/needs a C\+\+ compiler\. Install with `.*apt install g\+\+` now\?/);
    expect(await installed()).toBe('install g++\n');
  });

  test.each([['who declines', async () => false] as const, ['without a terminal', undefined] as const])(
    'is only named to a user %s',
    async (_, confirm) => {
      const env = await withoutCompiler();
      await expect(setup(fake.prebuilt({ env, confirm }))).rejects.toThrow(
        /Install with:\n {2}.*apt install g\+\+\n/,
      );
      expect(await installed()).toBe('');
    },
  );
});

describe('from the registry', () => {
  let server: FileServer;
  beforeEach(async () => {
    server = await FileServer.start();
    for (const [name, file] of [['source', fake.tarball] as const, ['cpu', fake.libraries.cpu] as const])
      server.files.set(`/${name}`, { body: await readFile(file), etag: `"${name}"` });
  });

  /** An npm that knows where the tarballs are, and cannot pack them. */
  async function registry() {
    const cli = path.join(folder, 'npm-cli.js');
    const url = server.url();
    await writeFile(
      cli,
      `if (process.argv[2] !== 'view') process.exit(1);
console.log('${url}/' + (process.argv[3].startsWith('@some/') ? 'cpu' : 'source'));`,
    );
    return fake.prebuilt({ tarballs: [], env: { ...fake.env, npm_execpath: cli } });
  }

  test('a download that is cut goes on where it broke off', async () => {
    const { body } = server.files.get('/cpu')!;
    server.files.set('/cpu', { body, etag: '"cpu"', cuts: [20] });
    const options = await registry();
    options.output?.on('data', () => {
      if (server.seen.at(-1)?.path === '/cpu' && server.seen.length === 2) server.cut();
    });
    await expectBuilt(options);
    expect(server.seen.map(({ path: seen, range }) => [seen, range?.replace(/\d+/, 'n')])).toEqual([
      ['/source', undefined],
      ['/cpu', undefined],
      ['/cpu', 'bytes=n-'],
    ]);
  });

  test.each([
    ['swapped for another package', () => readFile(fake.libraries.vulkan)],
    ['something else', async () => Buffer.from('<html>Sign in</html>')],
  ])('libraries that are %s are refused, and the next run fetches them again', async (_, body) => {
    const right = server.files.get('/cpu')!;
    server.files.set('/cpu', { body: await body() });
    await expect(setup(await registry())).rejects.toThrow(
      /Could not get the npm package @some\/cpu.*[^]*checksum/,
    );
    expect(await fake.compiled()).toEqual([]);
    server.files.set('/cpu', right);
    await expectBuilt(await registry());
    expect(await readFile(inBin('libllama.so'), 'utf8')).toBe('cpu');
  });
});
