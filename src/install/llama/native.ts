/** Builds all of llama.cpp with cmake, for this machine's CPU. */
import { mkdir, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { exists } from '../files.js';
import { startProgress } from '../progress.js';
import { parseStep } from './build-output.js';
import { FLAVOUR_NAMES, type Flavour, type SetupContext } from './context.js';
import type { Plan } from './plan.js';
import { findProgram, outputOf } from './programs.js';
import type { Steps } from './steps.js';
import { findNvcc, nativeTools } from './tools.js';

const TARGETS = ['llama-cli', 'llama-server'];

const SPACE: Record<Flavour, number> = { cpu: 0.6e9, metal: 0.8e9, vulkan: 1.5e9, cuda: 4e9 };

/** Builds only the two programs, uses nothing from the network, and finds libraries beside the program. */
const COMMON_FLAGS = [
  '-DCMAKE_BUILD_TYPE=Release',
  '-DCMAKE_BUILD_RPATH_USE_ORIGIN=ON',
  '-DBUILD_SHARED_LIBS=ON',
  '-DLLAMA_BUILD_TESTS=OFF',
  '-DLLAMA_BUILD_EXAMPLES=OFF',
  '-DLLAMA_BUILD_APP=OFF',
  '-DLLAMA_BUILD_UI=OFF',
  '-DLLAMA_USE_PREBUILT_UI=OFF',
  '-DLLAMA_OPENSSL=OFF',
];

/** For unknown GPUs: Turing and later, which CUDA 11.8 to 13 all support. */
const COMMON_ARCHITECTURES = ['75-virtual', '80-virtual', '86-real', '89-real', '90-virtual'];

export async function nativePlan(flavour: Flavour, env: NodeJS.ProcessEnv): Promise<Plan> {
  const flags = await cmakeFlags(flavour, env);
  return {
    flavour,
    label: `${FLAVOUR_NAMES[flavour]}, all compiled for this machine`,
    prebuilt: false,
    name: flavour,
    inputs: [process.platform, process.arch, await cpuFeatures(), ...flags],
    tools: nativeTools(flavour),
    space: SPACE[flavour],
    make: (context, folder, steps) => make({ context, folder, steps, flavour, flags }),
  };
}

async function cmakeFlags(flavour: Flavour, env: NodeJS.ProcessEnv): Promise<string[]> {
  const metal = `-DGGML_METAL=${flavour === 'metal' ? 'ON' : 'OFF'}`;
  if (flavour === 'cuda') return [...COMMON_FLAGS, metal, ...(await cudaFlags(env))];
  return [...COMMON_FLAGS, metal, ...(flavour === 'vulkan' ? ['-DGGML_VULKAN=ON'] : [])];
}

/** Builds for this machine's GPUs, if they are known. */
async function cudaFlags(env: NodeJS.ProcessEnv): Promise<string[]> {
  const nvcc = await findNvcc(env);
  const here = (await computeCapabilities(env)).map((capability) => capability.replace('.', ''));
  const architectures = here.length > 0 ? here : COMMON_ARCHITECTURES;
  return [
    '-DGGML_CUDA=ON',
    ...(nvcc ? [`-DCMAKE_CUDA_COMPILER=${nvcc}`] : []),
    `-DCMAKE_CUDA_ARCHITECTURES=${architectures.join(';')}`,
  ];
}

/** Compute capabilities of this machine's GPUs, such as ["8.6", "9.0"]; empty if unknown. */
async function computeCapabilities(env: NodeJS.ProcessEnv): Promise<string[]> {
  const listed = await outputOf('nvidia-smi', ['--query-gpu=compute_cap', '--format=csv,noheader'], env);
  const found = listed?.split('\n').filter((line) => /^\d+\.\d+$/.test(line.trim())) ?? [];
  return [...new Set(found.map((line) => line.trim()))].sort();
}

/** Features of this CPU that the compiler may use; a build for one CPU can crash with SIGILL on another. */
async function cpuFeatures(): Promise<string> {
  const info = await readFile('/proc/cpuinfo', 'utf8').catch(() => '');
  const features = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(info)?.[1];
  return features?.split(' ').sort().join(' ') ?? os.cpus()[0]?.model ?? '';
}

interface Build {
  context: SetupContext;
  folder: string;
  steps: Steps;
  flavour: Flavour;
  /** cmake's flags. */
  flags: readonly string[];
}

async function make(build: Build): Promise<void> {
  await mkdir(build.folder, { recursive: true });
  if (!(await configureOrRestart(build))) throw await build.steps.failure('Configuring');
  if (!(await compile(build))) throw await build.steps.failure('Building');
}

/** Starts from scratch if an interrupted run left an unusable folder (moved cache, half-written file). */
async function configureOrRestart(build: Build): Promise<boolean> {
  const resumed = await exists(path.join(build.folder, 'CMakeCache.txt'));
  if (await configure(build)) return true;
  if (!resumed) return false;
  await rm(build.folder, { recursive: true, force: true });
  return configure(build);
}

async function configure({ context, folder, steps, flags }: Build): Promise<boolean> {
  const { layout, env } = context;
  return steps.run('cmake', ['-S', layout.source, '-B', folder, ...(await generator(env)), ...flags]);
}

/** make, cmake's default, if available; otherwise ninja. */
async function generator(env: NodeJS.ProcessEnv): Promise<string[]> {
  if (env['CMAKE_GENERATOR'] || (await findProgram('make', env))) return [];
  return ['-G', 'Ninja'];
}

async function compile({ context, folder, steps, flavour }: Build): Promise<boolean> {
  const progress = startProgress(`Building llama.cpp (${flavour})`, 'percent', context.output);
  try {
    const args = ['--build', folder, '--parallel', String(context.jobs), '--target', ...TARGETS];
    const onLine = (line: string): void => {
      const step = parseStep(line);
      if (step) progress.update(step.percent, 100, step.step);
    };
    return await steps.run('cmake', args, { onLine });
  } finally {
    progress.stop();
  }
}
