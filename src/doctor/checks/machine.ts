/** Disk, port, open files and cores. */
import { dirname } from 'node:path';
import { formatBytes } from '../../install/progress.js';
import { connectUrl } from '../../wire/address.js';
import type { Facts } from '../facts.js';
import { fail, ok, warn, type Finding } from '../findings.js';

/** Bytes. */
const DISK_LEAST = 100e6;
const DISK_ENOUGH = 1e9;

/** A client, its worker's connection, and room for logs, libraries and the key file. */
const OPEN_FILES_ENOUGH = 1_024;

/** Whether usage can be written. */
export async function checkDataFolder({ probe, server }: Facts): Promise<Finding> {
  const folder = await existingFolder(server.dataDir, async (path) => (await probe.stat(path)) !== undefined);
  const entry = await probe.stat(folder);
  if (entry?.kind !== 'folder') return fail(`${folder} is not a folder`, 'set DATA_DIR to one');
  if (!entry.writable)
    return fail(
      `${folder} may not be written by this account`,
      'change its owner, or set DATA_DIR to another',
    );
  const free = await probe.freeBytes(folder);
  const found = `${server.dataDir}, ${formatBytes(free)} free`;
  const todo = 'free some room, or set DATA_DIR to a folder on another disk';
  if (free < DISK_LEAST) return fail(found, todo);
  return free < DISK_ENOUGH ? warn(found, todo) : ok(found);
}

/** The folder itself, or the one it will be made in. */
async function existingFolder(path: string, exists: (path: string) => Promise<boolean>): Promise<string> {
  if (path === dirname(path) || (await exists(path))) return path;
  return existingFolder(dirname(path), exists);
}

/** Whether the server can listen. */
export async function checkPort(facts: Facts): Promise<Finding> {
  const { host, port } = facts.server;
  const code = await facts.listening();
  if (code === undefined) return ok(port === 0 ? `a free one on ${host}` : `${port} on ${host} is free`);
  if (code === 'EADDRINUSE') return taken(facts);
  if (code === 'EACCES') return fail(`${port} is not allowed for this account`, 'set PORT to one above 1023');
  const unknown = code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND' || code === 'EAI_AGAIN';
  if (unknown)
    return fail(
      `this machine has no address ${host}`,
      'set HOST to one of its own, or to 0.0.0.0 for all of them',
    );
  return fail(`${port} on ${host} cannot be listened on (${code})`, 'set HOST and PORT to others');
}

async function taken(facts: Facts): Promise<Finding> {
  const { host, port } = facts.server;
  if (await facts.lmservRuns())
    return ok(`an LMServ is running at ${connectUrl(host, port)}`, 'stop it before you start another there');
  return fail(`${port} is taken by another program`, 'stop what listens there or set PORT to another');
}

/** Each request takes two connections. */
export async function checkOpenFiles({ probe }: Facts): Promise<Finding> {
  const limit = (await probe.exec('sh', ['-c', 'ulimit -n']))?.trim();
  if (limit === undefined) return ok('unknown');
  if (limit === 'unlimited' || Number(limit) >= OPEN_FILES_ENOUGH) return ok(limit);
  return warn(
    `${limit}, and ${OPEN_FILES_ENOUGH} are wanted`,
    `ulimit -n ${OPEN_FILES_ENOUGH}, or LimitNOFILE= in the unit`,
  );
}

/** Threads that have to wait for a core slow all others down. */
export function checkThreads({ probe, server }: Facts): Finding {
  const { models } = server;
  const threads = models.reduce((sum, model) => sum + model.workers * model.threads, 0);
  const workers = models.reduce((sum, model) => sum + model.workers, 0);
  const found = `${threads} in ${workers === 1 ? '1 worker' : `${workers} workers`}, on ${probe.cores} cores`;
  if (threads <= probe.cores) return ok(found);
  const each = Math.floor(probe.cores / workers);
  return warn(
    found,
    each > 0 ? `set LLM_THREADS (threads) to ${each}` : `lower LLM_WORKERS (workers) to ${probe.cores}`,
  );
}
