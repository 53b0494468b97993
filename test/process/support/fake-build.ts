import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { PassThrough } from 'node:stream';
import { execa } from 'execa';
import type { SetupOptions } from '../../../src/install/llama/setup.js';
import type { Machine } from '../../../src/install/llama/machine.js';
import { LLAMA_CLI, LLAMA_SERVER, writeProgram } from './programs.js';

const COMMIT = 'c'.repeat(40);
const BUNDLE = 'package/llama/gitRelease.bundle';

/** What the fake compilation does; it counts its runs in `builds`. */
export const BUILD_OK = `
mkdir -p "$2/bin"
echo '[ 50%] Building CXX object src/CMakeFiles/llama.dir/llama.cpp.o'
cp "$FAKES/made/llama-cli" "$FAKES/made/llama-server" "$2/bin/"
echo '[100%] Built target llama-server'`;
export const BUILD_FAILS = `
echo '[ 10%] Building CXX object src/CMakeFiles/llama.dir/llama.cpp.o'
echo '/src/llama.cpp:7:1: error: boom' >&2
exit 2`;
/** A compiler that runs until it is ended; its parent waits for it. */
export const BUILD_HANGS = `
mkdir -p "$2/bin"; echo half > "$2/half-done.o"
echo '[ 50%] Building CXX object src/CMakeFiles/llama.dir/llama.cpp.o'
sleep 1000 & wait`;

/** What the fake compiler does for an object. */
export const COMPILES = 'echo object > "$out"';
export const COMPILE_FAILS = `case "$name" in
*server-b*) echo 'server-b.cpp:7:1: error: boom' >&2; exit 1 ;;
*) ${COMPILES} ;;
esac`;
/** One of the files takes until the compiler is ended. */
export const COMPILE_HANGS = `case "$name" in
*server-b*) sleep 1000 & wait ;;
*) ${COMPILES} ;;
esac`;

/** The files of the fake source. */
const SOURCE = [
  ...['tools/mtmd/clip.cpp', 'tools/mtmd/models/one.cpp', 'tools/mtmd/models/two.cpp'],
  ...['tools/server/main.cpp', 'tools/server/server-a.cpp', 'tools/server/server-b.cpp'],
  ...['tools/cli/main.cpp', 'tools/cli/cli.cpp', 'tools/ui/ui.cpp.in', 'tools/ui/ui.h.in'],
];

/** Files of the compiler's runs that every build has. */
const MADE_EACH_TIME = ['check', 'llama-cli', 'llama-server'];

/** A machine that has nothing. */
export const BARE: Machine = {
  platform: `${process.platform}-${process.arch}`,
  libraries: new Map(),
  nvidiaGpu: false,
  nvcc: false,
  renderNode: false,
  vulkanDrivers: [],
};

/** A checkout whose pin names a tiny tarball, and stand-ins for cmake and git that behave as a test says. */
export class FakeBuild {
  readonly root: string;
  /** Of the source, and of the libraries for the CPU and for Vulkan. */
  readonly tarball: string;
  readonly libraries: { readonly cpu: string; readonly vulkan: string };
  readonly cache: string;
  readonly #fakes: string;

  private constructor(folder: string) {
    this.root = path.join(folder, 'checkout');
    this.tarball = path.join(folder, 'package.tgz');
    this.libraries = { cpu: path.join(folder, 'cpu.tgz'), vulkan: path.join(folder, 'vulkan.tgz') };
    this.cache = path.join(folder, 'cache');
    this.#fakes = path.join(folder, 'fakes');
  }

  static async make(folder: string): Promise<FakeBuild> {
    const made = new FakeBuild(folder);
    await made.#writePin();
    made.fake('made/llama-cli', LLAMA_CLI);
    made.fake('made/llama-server', LLAMA_SERVER);
    await made.#writeSource();
    made.compiler();
    made.fake('make', 'exit 0');
    made.git(`echo ${COMMIT}`);
    made.cmake(BUILD_OK);
    return made;
  }

  /** Puts a program on the search path. */
  fake(name: string, script: string): void {
    writeProgram(path.join(this.#fakes, name), script);
  }

  get env(): NodeJS.ProcessEnv {
    return {
      PATH: `${this.#fakes}:${process.env['PATH'] ?? ''}`,
      FAKES: this.#fakes,
      LMSERV_CACHE_DIR: this.cache,
    };
  }

  /** Options of a setup, and what it wrote so far. */
  options(more: Partial<SetupOptions> = {}): SetupOptions & { written: () => string } {
    const output = new PassThrough({ encoding: 'utf8' });
    let text = '';
    output.on('data', (chunk: string) => (text += chunk));
    const { root, tarball, env } = this;
    const common = { root, tarballs: [tarball], env, gpu: 'cpu', native: true, jobs: 2 } as const;
    return { ...common, output, confirm: undefined, machine: BARE, written: () => text, ...more };
  }

  /** Options of a setup with prebuilt libraries. */
  prebuilt(more: Partial<SetupOptions> = {}): SetupOptions & { written: () => string } {
    const { cpu, vulkan } = this.libraries;
    return this.options({ native: false, tarballs: [this.tarball, cpu, vulkan], ...more });
  }

  /**
   * Sets what the compiler does for an object, and as what the check of the libraries ends; it links by copying the fake
   * programs. What it makes is in `compiled()`.
   */
  compiler(object = COMPILES, check = 'exit 0'): void {
    const script = `[ "$1" = --version ] && { echo fake 1.0; exit 0; }
for argument; do [ "$before" = -o ] && out=$argument; [ "$argument" = -c ] && compiles=1; before=$argument; done
name=$(basename "$out" .new); name=$(basename "$name" .o)
echo "$name" >> "$FAKES/compiled"
if [ -n "$compiles" ]; then
${object}
elif [ "$name" = check ]; then printf '#!/bin/sh\\n${check}\\n' > "$out"; chmod +x "$out"
else cp "$FAKES/made/$name" "$out"
fi`;
    this.fake('c++', script);
  }

  /** What the compiler was run for, in alphabetical order, without what it makes each time. */
  async compiled(): Promise<string[]> {
    const text = await readFile(path.join(this.#fakes, 'compiled'), 'utf8').catch(() => '');
    const names = text.split('\n').filter((name) => name !== '' && !MADE_EACH_TIME.includes(name));
    return names.sort();
  }

  /** Sets what `cmake --build` does; configuring works and makes CMakeCache.txt. */
  cmake(build: string, configure = `mkdir -p "$4"; : > "$4/CMakeCache.txt"`): void {
    const script = `case "$1" in
-S) echo configure >> "$FAKES/calls"
${configure} ;;
--build) echo build >> "$FAKES/calls"
${build} ;;
esac`;
    this.fake('cmake', script);
  }

  /** Sets what git prints for the commit; cloning makes the folder. */
  git(revParse: string, clone = 'mkdir -p "$4"; cp -r "$FAKES/source/." "$4"'): void {
    const script = `case "$1" in
clone) echo clone >> "$FAKES/calls"
${clone} ;;
*) ${revParse} ;;
esac`;
    this.fake('git', script);
  }

  /** What cmake and git were called for, in order. */
  async calls(): Promise<string[]> {
    const text = await readFile(path.join(this.#fakes, 'calls'), 'utf8').catch(() => '');
    return text.split('\n').filter(Boolean);
  }

  async #writeSource(): Promise<void> {
    for (const file of SOURCE) {
      const target = path.join(this.#fakes, 'source', file);
      await mkdir(path.dirname(target), { recursive: true });
      await writeFile(target, `// ${file}\n`);
    }
  }

  async #writePin(): Promise<void> {
    await mkdir(path.join(this.root, 'vendor'), { recursive: true });
    await this.#pack(this.tarball, { [BUNDLE]: 'a bundle' });
    const cpu = { 'package/bins/x/libllama.so': 'cpu', 'package/bins/x/addon.node': 'unused' };
    await this.#pack(this.libraries.cpu, cpu);
    await this.#pack(this.libraries.vulkan, { 'package/bins/x/libllama.so': 'vulkan' });
    const pinned = async (name: keyof FakeBuild['libraries']) => [
      {
        packages: [{ name: `@some/${name}`, integrity: await integrityOf(this.libraries[name]) }],
        needs: [],
      },
    ];
    const pin = {
      package: 'some-package',
      version: '1.2.3',
      integrity: await integrityOf(this.tarball),
      bundle: BUNDLE,
      bundleSha256: createHash('sha256').update('a bundle').digest('hex'),
      commit: COMMIT,
      llamaVersion: '0.5.0',
      libraries: { [BARE.platform]: { cpu: await pinned('cpu'), vulkan: await pinned('vulkan') } },
    };
    await writeFile(path.join(this.root, 'vendor/llama.cpp.json'), JSON.stringify(pin));
  }

  async #pack(tarball: string, files: Record<string, string>): Promise<void> {
    const folder = `${tarball}.files`;
    for (const [file, text] of Object.entries(files)) {
      await mkdir(path.join(folder, path.dirname(file)), { recursive: true });
      await writeFile(path.join(folder, file), text);
    }
    await execa('tar', ['-czf', tarball, '-C', folder, ...Object.keys(files)]);
  }
}

async function integrityOf(file: string): Promise<string> {
  return `sha512-${createHash('sha512')
    .update(await readFile(file))
    .digest('base64')}`;
}
