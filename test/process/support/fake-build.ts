import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { PassThrough } from 'node:stream';
import { execa } from 'execa';
import type { SetupOptions } from '../../../src/install/llama/setup.js';
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

/** A checkout whose pin names a tiny tarball, and stand-ins for cmake and git that behave as a test says. */
export class FakeBuild {
  readonly root: string;
  readonly tarball: string;
  readonly cache: string;
  readonly #folder: string;
  readonly #fakes: string;

  private constructor(folder: string) {
    this.#folder = folder;
    this.root = path.join(folder, 'checkout');
    this.tarball = path.join(folder, 'package.tgz');
    this.cache = path.join(folder, 'cache');
    this.#fakes = path.join(folder, 'fakes');
  }

  static async make(folder: string): Promise<FakeBuild> {
    const made = new FakeBuild(folder);
    await made.#writePin();
    made.fake('made/llama-cli', LLAMA_CLI);
    made.fake('made/llama-server', LLAMA_SERVER);
    made.fake('c++', 'exit 0');
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
    return { root, tarball, env, gpu: 'cpu', output, written: () => text, ...more };
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
  git(revParse: string, clone = 'mkdir -p "$4"'): void {
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

  async #writePin(): Promise<void> {
    const bundle = path.join(this.#folder, BUNDLE);
    await mkdir(path.dirname(bundle), { recursive: true });
    await mkdir(path.join(this.root, 'vendor'), { recursive: true });
    await writeFile(bundle, 'a bundle');
    await execa('tar', ['-czf', this.tarball, '-C', this.#folder, BUNDLE]);
    const pin = {
      package: 'some-package',
      version: '1.2.3',
      integrity: `sha512-${createHash('sha512')
        .update(await readFile(this.tarball))
        .digest('base64')}`,
      bundle: BUNDLE,
      bundleSha256: createHash('sha256').update('a bundle').digest('hex'),
      commit: COMMIT,
      llamaVersion: '0.5.0',
    };
    await writeFile(path.join(this.root, 'vendor/llama.cpp.json'), JSON.stringify(pin));
  }
}
