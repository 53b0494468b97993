import { readFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { join } from 'node:path';

/** Where the system has no /proc: the share of the memory that models may take. */
const SHARE = 0.75;

/**
 * Main memory that processes could still get, bytes: what the system has available, and what is left of the limits of our
 * control groups. Mapped files do not count as taken, because the kernel drops their pages when memory is short.
 *
 * @param root for tests.
 * @returns undefined where the system does not tell, as on macOS.
 */
export function availableMemory(root = '/'): number | undefined {
  const meminfo = read(join(root, 'proc/meminfo'));
  const available = /^MemAvailable:\s+(\d+) kB$/m.exec(meminfo)?.[1];
  if (available === undefined) return undefined;
  return Math.min(Number(available) * 1024, ...limitsOf(root));
}

/** The budget of models where `availableMemory` does not tell, bytes. */
export const assumedMemory = (): number => Math.floor(totalmem() * SHARE);

/** What is left of each limit, bytes. */
function limitsOf(root: string): number[] {
  const groups = read(join(root, 'proc/self/cgroup'));
  const unified = /^0::(.*)$/m.exec(groups)?.[1];
  const own = /^\d+:(?:\w+,)*memory(?:,\w+)*:(.*)$/m.exec(groups)?.[1];
  const mount = join(root, 'sys/fs/cgroup');
  return [
    ...(unified === undefined ? [] : ancestors(mount, unified).map((folder) => leftOf(folder, UNIFIED))),
    ...(own === undefined
      ? []
      : ancestors(join(mount, 'memory'), own).map((folder) => leftOf(folder, FIRST))),
  ].filter((bytes) => bytes !== undefined);
}

/** The files of a control group, by version. */
interface Files {
  readonly limit: string;
  readonly usage: string;
  /** Pages of files, in memory.stat. */
  readonly cached: RegExp;
}

const UNIFIED: Files = {
  limit: 'memory.max',
  usage: 'memory.current',
  cached: /^(?:in)?active_file (\d+)$/gm,
};
const FIRST: Files = {
  limit: 'memory.limit_in_bytes',
  usage: 'memory.usage_in_bytes',
  cached: /^total_(?:in)?active_file (\d+)$/gm,
};

function leftOf(folder: string, { limit, usage, cached }: Files): number | undefined {
  const [max, used] = [limit, usage].map((file) => Number.parseInt(read(join(folder, file)), 10));
  if (!Number.isFinite(max) || !Number.isFinite(used)) return undefined;
  const pages = [...read(join(folder, 'memory.stat')).matchAll(cached)].map(([, bytes]) => Number(bytes));
  return Math.max(
    0,
    pages.reduce((left, bytes) => left + bytes, max! - used!),
  );
}

/** A group, and those that contain it: each limits what is inside. */
function ancestors(mount: string, path: string): string[] {
  const parts = path.split('/').filter(Boolean);
  return Array.from({ length: parts.length + 1 }, (_, length) => join(mount, ...parts.slice(0, length)));
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
