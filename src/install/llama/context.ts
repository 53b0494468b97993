/** Shared by all steps of a setup: the pin, the layout of folders, and the error class. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { UserError } from '../../errors.js';
import { cacheDir } from '../early/lock.mjs';
import type { ProgressStream } from '../progress.js';

export const FLAVOURS = ['cpu', 'cuda', 'vulkan', 'metal'] as const;

export type Flavour = (typeof FLAVOURS)[number];

export interface SetupContext {
  root: string;
  env: NodeJS.ProcessEnv;
  signal: AbortSignal | undefined;
  /** The stream for progress. */
  output: ProgressStream;
  pin: Pin;
  layout: Layout;
  flavour: Flavour;
  /** cmake's flags. */
  flags: readonly string[];
  /** Compilers in parallel. */
  jobs: number;
}

/** A setup failure that fits on one screen: what failed, the relevant lines of the log, and what to do. */
export class SetupError extends UserError {
  constructor(message: string, details: readonly string[] = [], options?: ErrorOptions) {
    super([message, ...details].join('\n'), options);
  }
}

const pinSchema = z.strictObject({
  /** The npm package whose tarball contains the source, and its exact version. */
  package: z.string(),
  version: z.string(),
  /** The tarball's hash as npm writes it: `sha512-` and base64. */
  integrity: z.string().regex(/^sha512-[A-Za-z0-9+/]+=*$/),
  /** The git bundle's path in the tarball, and its hash in hex. */
  bundle: z.string(),
  bundleSha256: z.string().regex(/^[0-9a-f]{64}$/),
  commit: z.string().regex(/^[0-9a-f]{40}$/),
  llamaVersion: z.string(),
});

/** The pinned llama.cpp: vendor/llama.cpp.json. */
export type Pin = z.infer<typeof pinSchema>;

/** The folders of setup, all in the cache; the checkout contains links to them. */
export interface Layout {
  /** llama.cpp's folder in the cache. */
  base: string;
  lock: string;
  tarball: string;
  bundle: string;
  /** The cloned source. */
  source: string;
  /** This flavour's build. */
  build: string;
  /** The file that marks a complete build. */
  stamp: string;
  log: string;
  /** The links in the checkout. */
  buildLink: string;
  sourceLink: string;
}

export async function readPin(root: string): Promise<Pin> {
  return pinSchema.parse(JSON.parse(await readFile(path.join(root, 'vendor/llama.cpp.json'), 'utf8')));
}

/** The tarball's sha512 in hex. */
export function tarballDigest(pin: Pin): string {
  return Buffer.from(pin.integrity.slice('sha512-'.length), 'base64').toString('hex');
}

export function layoutOf(
  pin: Pin,
  flavour: Flavour,
  flagsHash: string,
  root: string,
  env: NodeJS.ProcessEnv,
): Layout {
  const base = path.join(path.resolve(cacheDir(env)), 'llama.cpp');
  const name = sourceName(pin);
  const build = path.join(base, `${name}-${flavour}-${flagsHash}`);
  return {
    base,
    lock: path.join(base, 'setup.lock'),
    tarball: path.join(base, `${pin.package}-${pin.version}.tgz`),
    bundle: path.join(base, `${name}.bundle`),
    source: path.join(base, `${name}-source`),
    build,
    stamp: path.join(build, 'lmserv-build.json'),
    log: `${build}.log`,
    buildLink: path.join(root, 'vendor/llama.cpp', linkName(flavour)),
    sourceLink: path.join(root, 'vendor/llama.cpp/source'),
  };
}

/** The source's name in the cache, such as `0.5.0-de3ff815`. */
const sourceName = (pin: Pin): string => `${pin.llamaVersion}-${pin.commit.slice(0, 8)}`;

/** The folder of a flavour's build below vendor/llama.cpp. */
const linkName = (flavour: Flavour): string => (flavour === 'cpu' ? 'build' : `build-${flavour}`);
