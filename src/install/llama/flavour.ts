/** The target of a llama.cpp build, and its flags. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import os from 'node:os';
import { exists } from '../files.js';
import type { Flavour } from './context.js';
import { outputOf } from './programs.js';
import { findNvcc } from './tools.js';

/** The choice of `--gpu auto`, with a reason if it may surprise. */
export interface Detected {
  flavour: Flavour;
  note?: string;
}

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

/** The flavour for this machine: CUDA with an NVIDIA GPU and its compiler, Metal on a Mac, otherwise the CPU. */
export async function detectFlavour(env: NodeJS.ProcessEnv, platform = process.platform): Promise<Detected> {
  if (platform === 'darwin') return { flavour: 'metal' };
  if (!(await hasNvidiaGpu(env))) return { flavour: 'cpu' };
  if (await findNvcc(env)) return { flavour: 'cuda' };
  return {
    flavour: 'cpu',
    note: 'This machine has an NVIDIA GPU but not nvcc, so this build is for the CPU. Install the CUDA toolkit and run `npm run setup -- --gpu cuda` to use the GPU.',
  };
}

async function hasNvidiaGpu(env: NodeJS.ProcessEnv): Promise<boolean> {
  if ((await outputOf('nvidia-smi', ['-L'], env))?.startsWith('GPU ')) return true;
  return exists('/dev/nvidia0');
}

/** cmake's flags for a flavour on this machine. */
export async function cmakeFlags(flavour: Flavour, env: NodeJS.ProcessEnv): Promise<string[]> {
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

/** Eight hex digits that depend on the flags and the target CPU. */
export async function flagsHash(flags: readonly string[]): Promise<string> {
  const parts = [process.platform, process.arch, await cpuFeatures(), ...flags];
  return createHash('sha256').update(parts.join('\0')).digest('hex').slice(0, 8);
}

/** Features of this CPU that the compiler may use; a build for one CPU can crash with SIGILL on another. */
async function cpuFeatures(): Promise<string> {
  const info = await readFile('/proc/cpuinfo', 'utf8').catch(() => '');
  const features = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(info)?.[1];
  return features?.split(' ').sort().join(' ') ?? os.cpus()[0]?.model ?? '';
}
