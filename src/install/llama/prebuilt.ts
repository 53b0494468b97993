/**
 * Builds llama-cli and llama-server against prebuilt libraries of the same version: only what the libraries lack is
 * compiled, without cmake. Objects are kept, so that another flavour is only linked.
 */
import { mkdir, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { exists } from '../files.js';
import { startProgress } from '../progress.js';
import { FLAVOUR_NAMES, UnfitError, type Flavour, type Libraries, type SetupContext } from './context.js';
import type { SystemLibraries } from './machine.js';
import { usePackage } from './package.js';
import type { Plan } from './plan.js';
import { outputOf } from './programs.js';
import type { Steps } from './steps.js';
import { findCompiler, PREBUILT_TOOLS } from './tools.js';
import { INCLUDE_FOLDERS, PROGRAMS, readUiHeader, readUnits, type Unit } from './units.js';

/** As llama.cpp's own build has them, but for the optimisation, which no program is measurably faster with. */
const FLAGS = [
  ...['-std=c++17', '-O1', '-fPIC', '-w', '-DNDEBUG'],
  ...['-DGGML_SHARED', '-DGGML_BACKEND_SHARED', '-DLLAMA_SHARED', '-DLLAMA_SUBPROCESS', '-DMTMD_VIDEO'],
];

const SPACE: Record<Flavour, number> = { cpu: 0.45e9, metal: 0.45e9, vulkan: 0.5e9, cuda: 1.2e9 };

/** The packages' libraries, among other files. */
const LIBRARY = /\/lib[^/]+\.(so|dylib)$/;

/** What programs are linked with, unlike the libraries of devices, which are loaded at run time. */
const LINKED = /^lib(llama|ggml)[^/]*\.(so|dylib)$/;
const DEVICE = /^libggml-(?!base)/;

/** Loads all libraries, and succeeds if one of them can compute on this CPU. */
const CHECK = `#include "ggml-backend.h"
int main() {
  ggml_backend_load_all();
  return ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU) == nullptr;
}
`;

export function prebuiltPlan(flavour: Flavour, libraries: Libraries, system: SystemLibraries): Plan {
  return {
    flavour,
    label: `${FLAVOUR_NAMES[flavour]}, with prebuilt libraries`,
    prebuilt: true,
    name: `${flavour}-prebuilt`,
    inputs: [
      process.platform,
      process.arch,
      ...libraries.packages.map(({ integrity }) => integrity),
      ...FLAGS,
    ],
    tools: PREBUILT_TOOLS,
    space: SPACE[flavour],
    make: (context, folder, steps) => new PrebuiltBuild(context, folder, steps).make(libraries, system),
  };
}

class PrebuiltBuild {
  readonly #context: SetupContext;
  readonly #bin: string;
  readonly #steps: Steps;
  #compiler = '';
  #objects = '';

  constructor(context: SetupContext, folder: string, steps: Steps) {
    this.#context = context;
    this.#bin = path.join(folder, 'bin');
    this.#steps = steps;
  }

  async make(libraries: Libraries, system: SystemLibraries): Promise<void> {
    const { env, layout } = this.#context;
    this.#compiler = (await findCompiler(env))!;
    const version = (await outputOf(this.#compiler, ['--version'], env)) ?? '';
    this.#objects = layout.made('objects', [process.platform, process.arch, version, ...FLAGS]);
    await mkdir(this.#objects, { recursive: true });
    if (!(await exists(this.#bin))) await this.#obtainLibraries(libraries, system);
    await this.#checkLibraries();
    const units = await readUnits(layout.source);
    await writeFile(path.join(this.#objects, 'ui.h'), await readUiHeader(layout.source));
    await this.#compileAll(units);
    await this.#linkPrograms(units);
  }

  /** Puts all libraries into the folder of the programs, in one step. */
  async #obtainLibraries({ packages, needs }: Libraries, system: SystemLibraries): Promise<void> {
    const fresh = `${this.#bin}.new`;
    await rm(fresh, { recursive: true, force: true });
    const target = (entry: string): string | undefined =>
      LIBRARY.test(entry) ? path.join(fresh, path.basename(entry)) : undefined;
    for (const pinned of packages) await usePackage(this.#context, pinned, target, async () => undefined);
    for (const name of needs) {
      const found = system.get(name);
      if (found && !found.known) await symlink(found.path, path.join(fresh, name));
    }
    await rename(fresh, this.#bin);
  }

  /** @throws UnfitError if the libraries cannot be linked with or loaded here */
  async #checkLibraries(): Promise<void> {
    const unit = { name: 'check', text: CHECK, files: 1, weight: 1 };
    const program = path.join(this.#bin, 'check');
    if (!(await this.#compile(unit))) throw await this.#steps.failure('Compiling');
    const fits = (await this.#link(program, [unit])) && (await this.#steps.run(program, []));
    await rm(program, { force: true });
    if (!fits) throw new UnfitError('The prebuilt libraries cannot be used here', this.#steps.lastLines());
  }

  async #compileAll(units: readonly Unit[]): Promise<void> {
    const progress = startCompileProgress(units, this.#context);
    const failed = new AbortController();
    const waiting = [...units];
    const compileNext = async (): Promise<void> => {
      for (let unit = waiting.shift(); unit && !failed.signal.aborted; unit = waiting.shift()) {
        const done = progress.begin(unit);
        if (await this.#compile(unit, failed.signal)) done();
        else failed.abort();
      }
    };
    try {
      await Promise.all(Array.from({ length: this.#context.jobs }, compileNext));
    } finally {
      progress.stop();
    }
    if (failed.signal.aborted) throw await this.#steps.failure('Compiling');
  }

  /** Compiles a unit that an earlier run has not. @returns whether it succeeded */
  async #compile({ name, text }: Unit, failed?: AbortSignal): Promise<boolean> {
    const [object, file] = [this.#object(name), path.join(this.#objects, `${name}.cpp`)];
    if (await exists(object)) return true;
    await writeFile(file, text);
    const { source } = this.#context.layout;
    const folders = [...INCLUDE_FOLDERS.map((folder) => path.join(source, folder)), this.#objects];
    const args = [...FLAGS, ...folders.map((folder) => `-I${folder}`), '-c', file, '-o', `${object}.new`];
    if (!(await this.#steps.run(this.#compiler, args, { signal: failed }))) return false;
    await rename(`${object}.new`, object);
    return true;
  }

  #object(name: string): string {
    return path.join(this.#objects, `${name}.o`);
  }

  async #linkPrograms(units: readonly Unit[]): Promise<void> {
    const shared = units.filter(({ name }) => !(name in PROGRAMS));
    for (const main of units.filter(({ name }) => name in PROGRAMS)) {
      const program = path.join(this.#bin, main.name);
      if (!(await this.#link(`${program}.new`, [main, ...shared])))
        throw await this.#steps.failure('Linking');
      await rename(`${program}.new`, program);
    }
  }

  /** Links objects with the libraries beside the program. @returns whether it succeeded */
  async #link(program: string, units: readonly Unit[]): Promise<boolean> {
    const libraries = (await readdir(this.#bin)).filter((name) => LINKED.test(name) && !DEVICE.test(name));
    return this.#steps.run(this.#compiler, [
      ...units.map(({ name }) => this.#object(name)),
      ...libraries.map((name) => path.join(this.#bin, name)),
      ...['-pthread', '-Wl,-rpath,$ORIGIN', '-Wl,--no-as-needed', '-o', program],
    ]);
  }
}

/** Shows how many files are compiled, and the time that the others take. */
function startCompileProgress(units: readonly Unit[], { output }: SetupContext) {
  const files = units.reduce((sum, unit) => sum + unit.files, 0);
  const total = units.reduce((sum, unit) => sum + unit.weight, 0);
  const progress = startProgress('Compiling llama.cpp', 'work', output);
  let [doneFiles, done] = [0, 0];
  return {
    begin: (unit: Unit) => (): void => {
      doneFiles += unit.files;
      done += unit.weight;
      progress.update(done, total, `${doneFiles} of ${files} files`);
    },
    stop: () => progress.stop(),
  };
}
