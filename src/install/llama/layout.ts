/** Where setup keeps things: all in the cache, of which the checkout holds links. */
import path from 'node:path';
import { cacheDir } from '../early/lock.mjs';
import type { Flavour } from './flavour.js';
import { sourceName, type Pin } from './pin.js';

export interface Layout {
  /** Folder of everything of llama.cpp's in the cache. */
  base: string;
  lock: string;
  tarball: string;
  bundle: string;
  /** The cloned source. */
  source: string;
  /** This flavour's build. */
  build: string;
  /** Written into the build when it is whole. */
  stamp: string;
  log: string;
  /** The links in the checkout. */
  buildLink: string;
  sourceLink: string;
}

/** The folder of a flavour's build below vendor/llama.cpp. */
export const linkName = (flavour: Flavour): string => (flavour === 'cpu' ? 'build' : `build-${flavour}`);

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
