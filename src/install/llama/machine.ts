/** What this machine has that decides which llama.cpp suits it. Nothing here starts a device. */
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { exists } from '../files.js';
import { outputOf } from './programs.js';
import { findNvcc } from './tools.js';

/** A shared library of the system. */
export interface SystemLibrary {
  readonly path: string;
  /** Whether programs find it by its name. */
  readonly known: boolean;
}

export type SystemLibraries = ReadonlyMap<string, SystemLibrary>;

export interface Machine {
  /** As the pin names platforms: `linux-x64`. */
  readonly platform: string;
  /** Those that were asked for and are here. */
  readonly libraries: SystemLibraries;
  readonly nvidiaGpu: boolean;
  readonly nvcc: boolean;
  /** Whether the system offers a device that draws. */
  readonly renderNode: boolean;
  /** Files that describe Vulkan drivers, without the one that computes on the CPU. */
  readonly vulkanDrivers: readonly string[];
}

/** NVIDIA's driver, also under Windows' Linux. */
const NVIDIA_DEVICES = ['/dev/nvidiactl', '/dev/nvidia0', '/dev/dxg'];

/** Where CUDA's libraries may be without the loader's knowledge. */
const LIBRARY_FOLDERS = ['/usr/local/cuda/lib64', '/opt/cuda/lib64', '/usr/lib/wsl/lib'];

const VULKAN_FOLDERS = ['/usr/share/vulkan/icd.d', '/usr/local/share/vulkan/icd.d', '/etc/vulkan/icd.d'];

/** @param names the shared libraries to look for */
export async function readMachine(names: readonly string[], env: NodeJS.ProcessEnv): Promise<Machine> {
  const [libraries, nvidia, nvcc, render, drivers] = await Promise.all([
    findLibraries(names, env),
    Promise.all(NVIDIA_DEVICES.map(exists)),
    findNvcc(env),
    filesIn('/dev/dri'),
    vulkanDrivers(env),
  ]);
  return {
    platform: `${process.platform}-${process.arch}`,
    libraries,
    nvidiaGpu:
      nvidia.includes(true) || (await outputOf('nvidia-smi', ['-L'], env))?.startsWith('GPU ') === true,
    nvcc: nvcc !== undefined,
    renderNode: render.some((file) => /\/renderD\d+$/.test(file)),
    vulkanDrivers: drivers.filter((file) => !path.basename(file).startsWith('lvp_')),
  };
}

async function findLibraries(names: readonly string[], env: NodeJS.ProcessEnv): Promise<SystemLibraries> {
  const known = await loaderCache(env);
  const found = new Map<string, SystemLibrary>();
  for (const name of names) {
    const cached = known.get(name);
    const elsewhere =
      cached ?? (await firstIn([...folders(env['LD_LIBRARY_PATH']), ...LIBRARY_FOLDERS], name));
    if (elsewhere !== undefined) found.set(name, { path: elsewhere, known: cached !== undefined });
  }
  return found;
}

/** Path of each library that the loader knows: `	libcuda.so.1 (libc6,x86-64) => /usr/lib/libcuda.so.1`. */
async function loaderCache(env: NodeJS.ProcessEnv): Promise<Map<string, string>> {
  const PATH = `${env['PATH'] ?? ''}${path.delimiter}/usr/sbin${path.delimiter}/sbin`;
  const listed = (await outputOf('ldconfig', ['-p'], { ...env, PATH })) ?? '';
  return new Map([...listed.matchAll(/^\s*(\S+) \(.*\) => (.+)$/gm)].map(([, name, file]) => [name!, file!]));
}

async function firstIn(folder: readonly string[], name: string): Promise<string | undefined> {
  for (const file of folder.map((each) => path.join(each, name))) if (await exists(file)) return file;
  return undefined;
}

const folders = (list = ''): string[] =>
  list.split(path.delimiter).filter((folder) => path.isAbsolute(folder));

/** The loader's own variables name all the files there are. */
async function vulkanDrivers(env: NodeJS.ProcessEnv): Promise<string[]> {
  const named = env['VK_DRIVER_FILES'] ?? env['VK_ICD_FILENAMES'];
  if (named) return folders(named);
  const found = (await Promise.all(VULKAN_FOLDERS.map(filesIn))).flat();
  return found.filter((file) => file.endsWith('.json'));
}

async function filesIn(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch(() => []);
  return names.map((name) => path.join(folder, name));
}
