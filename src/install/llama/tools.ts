/** The programs that a build needs, and how to install all missing ones. */
import path from 'node:path';
import { exists } from '../files.js';
import { SetupError, type Flavour } from './context.js';
import { findProgram } from './programs.js';

/** The packages' names in each package manager. */
interface Packages {
  apt: string;
  dnf: string;
  brew: string;
}

interface Tool {
  name: string;
  /** Any one of these programs is enough. */
  programs: readonly string[];
  packages: Packages;
}

const same = (name: string): Packages => ({ apt: name, dnf: name, brew: name });

const TOOLS: readonly Tool[] = [
  { name: 'cmake', programs: ['cmake'], packages: same('cmake') },
  {
    name: 'a C++ compiler',
    programs: ['c++', 'g++', 'clang++'],
    packages: { apt: 'g++', dnf: 'gcc-c++', brew: 'gcc' },
  },
  { name: 'make', programs: ['make', 'ninja'], packages: same('make') },
  { name: 'git', programs: ['git'], packages: same('git') },
  { name: 'tar', programs: ['tar'], packages: { apt: 'tar', dnf: 'tar', brew: 'gnu-tar' } },
];

const GPU_TOOLS: Partial<Record<Flavour, Tool>> = {
  cuda: {
    name: 'nvcc (CUDA toolkit)',
    programs: ['nvcc'],
    packages: { apt: 'nvidia-cuda-toolkit', dnf: 'cuda-toolkit', brew: '' },
  },
  vulkan: {
    name: 'glslc (Vulkan SDK)',
    programs: ['glslc'],
    packages: {
      apt: 'glslc libvulkan-dev spirv-headers',
      dnf: 'glslc vulkan-devel spirv-headers-devel',
      brew: 'shaderc vulkan-loader vulkan-headers',
    },
  },
};

/** The CUDA toolkit's default folders, which are often not on PATH. */
const CUDA_FOLDERS = ['/usr/local/cuda/bin', '/opt/cuda/bin'];

const INSTALLERS: ReadonlyArray<[program: string, key: keyof Packages, command: string]> = [
  ['apt-get', 'apt', 'sudo apt install'],
  ['dnf', 'dnf', 'sudo dnf install'],
  ['brew', 'brew', 'brew install'],
];

/** Path of the CUDA compiler; undefined when there is none. */
export async function findNvcc(env: NodeJS.ProcessEnv): Promise<string | undefined> {
  const PATH = [env['PATH'], ...CUDA_FOLDERS].filter(Boolean).join(path.delimiter);
  return env['CUDACXX'] || findProgram('nvcc', { PATH });
}

/** @throws SetupError that names every missing program and the command that installs them */
export async function requireTools(flavour: Flavour, env: NodeJS.ProcessEnv): Promise<void> {
  const needed = [...TOOLS, ...(GPU_TOOLS[flavour] ? [GPU_TOOLS[flavour]] : [])];
  const there = await Promise.all(needed.map((tool) => isThere(tool, env)));
  const missing = needed.filter((_, index) => !there[index]);
  if (missing.length === 0) return;
  throw new SetupError(
    `Building llama.cpp needs ${missing.map(({ name }) => name).join(', ')}. Install with:`,
    [
      ...(await installLines(missing, env)),
      'and run the same command again; or set LLM_BIN_PATH to an existing llama-cli or llama-server.',
    ],
  );
}

async function isThere(tool: Tool, env: NodeJS.ProcessEnv): Promise<boolean> {
  if (tool.programs.includes('nvcc')) return (await findNvcc(env)) !== undefined;
  for (const name of tool.programs) if (await findProgram(name, env)) return true;
  return tool.name === 'a C++ compiler' && env['CXX'] ? isProgram(env['CXX'], env) : false;
}

/** CXX may be a path or a program's name. */
async function isProgram(program: string, env: NodeJS.ProcessEnv): Promise<boolean> {
  return path.isAbsolute(program) ? exists(program) : (await findProgram(program, env)) !== undefined;
}

/** The command that installs what is missing, for the package managers found here, or for all of them. */
async function installLines(missing: readonly Tool[], env: NodeJS.ProcessEnv): Promise<string[]> {
  const lineOf = ([, key, command]: (typeof INSTALLERS)[number]): string =>
    `  ${command} ${missing.map(({ packages }) => packages[key]).join(' ')}`.trimEnd();
  for (const installer of INSTALLERS) if (await findProgram(installer[0], env)) return [lineOf(installer)];
  return INSTALLERS.map(lineOf);
}
