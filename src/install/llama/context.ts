/** Shared by all steps of a setup: the pin, the layout of folders, and the error classes. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { UserError } from '../../errors.js';
import { cacheDir } from '../early/lock.mjs';
import type { ProgressStream } from '../progress.js';

export const FLAVOURS = ['cpu', 'cuda', 'vulkan', 'metal'] as const;

export type Flavour = (typeof FLAVOURS)[number];

/** For messages. */
export const FLAVOUR_NAMES: Record<Flavour, string> = {
  cpu: 'the CPU',
  cuda: 'CUDA',
  vulkan: 'Vulkan',
  metal: 'Metal',
};

export interface SetupContext {
  root: string;
  env: NodeJS.ProcessEnv;
  signal: AbortSignal | undefined;
  /** The stream for progress. */
  output: ProgressStream;
  /** Asks the user; undefined without a terminal. */
  confirm: ((question: string) => Promise<boolean>) | undefined;
  pin: Pin;
  layout: Layout;
  /** Tarballs of the pinned packages to use instead of the network. */
  tarballs: readonly string[];
  /** Compilers in parallel. */
  jobs: number;
}

/** A setup failure that fits on one screen: what failed, the relevant lines of the log, and what to do. */
export class SetupError extends UserError {
  constructor(message: string, details: readonly string[] = [], options?: ErrorOptions) {
    super([message, ...details].join('\n'), options);
  }
}

/** A build that cannot work on this machine; another one may. */
export class UnfitError extends SetupError {
  /** @param device whether it lacks only a device, so that the libraries may suit another flavour */
  constructor(
    message: string,
    details: readonly string[],
    readonly device = false,
  ) {
    super(message, details);
  }
}

/** A hash as npm writes it: `sha512-` and base64. */
const integrity = z.string().regex(/^sha512-[A-Za-z0-9+/]+=*$/);

const librariesSchema = z.strictObject({
  /** Tarballs of these hashes; of files with the same name, the last one counts. */
  packages: z.array(z.strictObject({ name: z.string(), integrity })).min(1),
  /** Libraries of the system that they load. */
  needs: z.array(z.string()),
});

const pinSchema = z.strictObject({
  /** The npm package whose tarball contains the source, and its exact version. */
  package: z.string(),
  version: z.string(),
  integrity,
  /** The git bundle's path in the tarball, and its hash in hex. */
  bundle: z.string(),
  bundleSha256: z.string().regex(/^[0-9a-f]{64}$/),
  commit: z.string().regex(/^[0-9a-f]{40}$/),
  llamaVersion: z.string(),
  /** Compiled libraries of that version by platform (`linux-x64`) and flavour, the preferred ones first. */
  libraries: z.record(z.string(), z.partialRecord(z.enum(FLAVOURS), z.array(librariesSchema).min(1))),
});

/** The pinned llama.cpp: vendor/llama.cpp.json. */
export type Pin = z.infer<typeof pinSchema>;

/** Compiled libraries of one flavour. */
export type Libraries = z.infer<typeof librariesSchema>;

export type PinnedPackage = Libraries['packages'][number];

/** The folders of setup, all in the cache; the checkout contains links to them. */
export interface Layout {
  /** llama.cpp's folder in the cache. */
  base: string;
  lock: string;
  /** The cloned source. */
  source: string;
  /** The folder of something made from the source, named after what it was made from. */
  made(name: string, inputs: readonly string[]): string;
  /** The link in the checkout to a flavour's build. */
  buildLink(flavour: Flavour): string;
  sourceLink: string;
}

export async function readPin(root: string): Promise<Pin> {
  return pinSchema.parse(JSON.parse(await readFile(path.join(root, 'vendor/llama.cpp.json'), 'utf8')));
}

export function layoutOf(pin: Pin, root: string, env: NodeJS.ProcessEnv): Layout {
  const base = path.join(path.resolve(cacheDir(env)), 'llama.cpp');
  const links = path.join(root, 'vendor/llama.cpp');
  const source = `${pin.llamaVersion}-${pin.commit.slice(0, 8)}`;
  return {
    base,
    lock: path.join(base, 'setup.lock'),
    source: path.join(base, `${source}-source`),
    made: (name, inputs) => path.join(base, `${source}-${name}-${shortHash(inputs)}`),
    buildLink: (flavour) => path.join(links, flavour === 'cpu' ? 'build' : `build-${flavour}`),
    sourceLink: path.join(links, 'source'),
  };
}

/** Eight hex digits. */
function shortHash(inputs: readonly string[]): string {
  return createHash('sha256').update(inputs.join('\0')).digest('hex').slice(0, 8);
}

/** A tarball's sha512 in hex. */
export function digestOf({ integrity }: { integrity: string }): string {
  return Buffer.from(integrity.slice('sha512-'.length), 'base64').toString('hex');
}
