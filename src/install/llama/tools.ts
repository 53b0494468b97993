/** The programs that a build needs, and how to install all missing ones. */
import path from 'node:path';
import { execa } from 'execa';
import { exists } from '../files.js';
import { SetupError, type Flavour, type SetupContext } from './context.js';
import { findProgram } from './programs.js';

/** The packages' names in each package manager; an empty name if it has none. */
interface Packages {
  apt: string;
  dnf: string;
  pacman: string;
  brew: string;
}

export interface Tool {
  name: string;
  /** Any one of these programs is enough. */
  programs: readonly string[];
  packages: Packages;
}

const same = (name: string): Packages => ({ apt: name, dnf: name, pacman: name, brew: name });

const COMPILERS = ['c++', 'g++', 'clang++'];

const COMPILER: Tool = {
  name: 'a C++ compiler',
  programs: COMPILERS,
  packages: { apt: 'g++', dnf: 'gcc-c++', pacman: 'gcc', brew: 'gcc' },
};

/** For a build with prebuilt libraries. */
export const PREBUILT_TOOLS: readonly Tool[] = [
  COMPILER,
  { name: 'git', programs: ['git'], packages: same('git') },
];

const GPU_TOOLS: Partial<Record<Flavour, Tool>> = {
  cuda: {
    name: 'nvcc (CUDA toolkit)',
    programs: ['nvcc'],
    packages: { apt: 'nvidia-cuda-toolkit', dnf: 'cuda-toolkit', pacman: 'cuda', brew: '' },
  },
  vulkan: {
    name: 'glslc (Vulkan SDK)',
    programs: ['glslc'],
    packages: {
      apt: 'glslc libvulkan-dev spirv-headers',
      dnf: 'glslc vulkan-devel spirv-headers-devel',
      pacman: 'shaderc vulkan-headers vulkan-icd-loader spirv-headers',
      brew: 'shaderc vulkan-loader vulkan-headers',
    },
  },
};

/** For a build of everything. */
export const nativeTools = (flavour: Flavour): readonly Tool[] => [
  { name: 'cmake', programs: ['cmake'], packages: same('cmake') },
  ...PREBUILT_TOOLS,
  { name: 'make', programs: ['make', 'ninja'], packages: same('make') },
  ...(GPU_TOOLS[flavour] ? [GPU_TOOLS[flavour]] : []),
];

/** The packages of shared libraries; those of CUDA are in NVIDIA's own repositories. */
const LIBRARY_PACKAGES: ReadonlyArray<[library: RegExp, packages: (version: string) => Packages]> = [
  [
    /^libcuda\.so\.(\d+)$/,
    () => ({ apt: 'libcuda1', dnf: 'nvidia-driver-cuda', pacman: 'nvidia-utils', brew: '' }),
  ],
  [
    /^libcudart\.so\.(\d+)$/,
    (version) => ({ ...same(`cuda-cudart-${version}-0`), pacman: 'cuda', brew: '' }),
  ],
  [
    /^libcublas(?:Lt)?\.so\.(\d+)$/,
    (version) => ({ ...same(`libcublas-${version}-0`), pacman: 'cuda', brew: '' }),
  ],
  [
    /^libvulkan\.so\.(\d+)$/,
    () => ({ apt: 'libvulkan1', dnf: 'vulkan-loader', pacman: 'vulkan-icd-loader', brew: 'vulkan-loader' }),
  ],
];

/** The CUDA toolkit's default folders, which are often not on PATH. */
const CUDA_FOLDERS = ['/usr/local/cuda/bin', '/opt/cuda/bin'];

const INSTALLERS: ReadonlyArray<[program: string, key: keyof Packages, command: string]> = [
  ['apt-get', 'apt', 'sudo apt install'],
  ['dnf', 'dnf', 'sudo dnf install'],
  ['pacman', 'pacman', 'sudo pacman -S'],
  ['brew', 'brew', 'brew install'],
];

/** Path of the CUDA compiler; undefined when there is none. */
export async function findNvcc(env: NodeJS.ProcessEnv): Promise<string | undefined> {
  const PATH = [env['PATH'], ...CUDA_FOLDERS].filter(Boolean).join(path.delimiter);
  return env['CUDACXX'] || findProgram('nvcc', { PATH });
}

/** The C++ compiler: CXX, a path or a program's name, otherwise the first one on PATH. */
export async function findCompiler(env: NodeJS.ProcessEnv): Promise<string | undefined> {
  for (const name of [...(env['CXX'] ? [env['CXX']] : []), ...COMPILERS]) {
    const found = path.isAbsolute(name) ? (await exists(name)) && name : await findProgram(name, env);
    if (found) return found;
  }
  return undefined;
}

/**
 * Makes sure that all tools are here; on a terminal the user may have the missing ones installed.
 * @throws SetupError that names every missing program and the command that installs them
 */
export async function requireTools(tools: readonly Tool[], context: SetupContext): Promise<void> {
  const missing = await missingTools(tools, context.env);
  if (missing.length === 0) return;
  const what = `Building llama.cpp needs ${missing.map(({ name }) => name).join(', ')}.`;
  const commands = await installCommands(
    missing.map(({ packages }) => packages),
    context.env,
  );
  if (commands.length === 1 && (await mayInstall(what, commands[0]!, context))) {
    if ((await missingTools(tools, context.env)).length === 0) return;
  }
  throw new SetupError(`${what} Install with:`, [
    ...commands.map((command) => `  ${command}`),
    'and run the same command again; or set LLM_BIN_PATH to an existing llama-cli or llama-server.',
  ]);
}

/** Asks on a terminal, and installs if told to. @returns whether something was installed */
async function mayInstall(
  what: string,
  command: string,
  { env, confirm, signal }: SetupContext,
): Promise<boolean> {
  if (!(await confirm?.(`${what} Install with \`${command}\` now?`))) return false;
  const [program, ...args] = command.split(' ');
  const cancel = signal ? { cancelSignal: signal } : {};
  const { failed } = await execa(program!, args, {
    env,
    extendEnv: false,
    stdio: 'inherit',
    reject: false,
    ...cancel,
  });
  signal?.throwIfAborted();
  return !failed;
}

async function missingTools(tools: readonly Tool[], env: NodeJS.ProcessEnv): Promise<Tool[]> {
  const there = await Promise.all(tools.map((tool) => isThere(tool, env)));
  return tools.filter((_, index) => !there[index]);
}

async function isThere(tool: Tool, env: NodeJS.ProcessEnv): Promise<boolean> {
  if (tool === COMPILER) return (await findCompiler(env)) !== undefined;
  if (tool.programs.includes('nvcc')) return (await findNvcc(env)) !== undefined;
  for (const name of tool.programs) if (await findProgram(name, env)) return true;
  return false;
}

/** The lines that say how to install shared libraries. */
export async function libraryLines(names: readonly string[], env: NodeJS.ProcessEnv): Promise<string[]> {
  const packages = names.flatMap((name) =>
    LIBRARY_PACKAGES.flatMap(([library, packagesOf]) => {
      const version = library.exec(name)?.[1];
      return version === undefined ? [] : [packagesOf(version)];
    }),
  );
  return (await installCommands(packages, env)).map((command) => `  ${command}`);
}

/** The command that installs packages, for the package manager found here, or for each of them. */
async function installCommands(packages: readonly Packages[], env: NodeJS.ProcessEnv): Promise<string[]> {
  const commandOf = ([, key, command]: (typeof INSTALLERS)[number]): string => {
    const names = new Set(packages.map((each) => each[key]).filter((name) => name !== ''));
    const root = process.getuid?.() === 0;
    return [root ? command.replace('sudo ', '') : command, ...names].join(' ');
  };
  for (const installer of INSTALLERS) if (await findProgram(installer[0], env)) return [commandOf(installer)];
  return INSTALLERS.map(commandOf);
}
