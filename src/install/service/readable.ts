/** Whether the service's user can reach what it needs, told before the start rather than by a unit that fails. */
import { realpath } from 'node:fs/promises';
import path from 'node:path';
import type { ServiceUser } from './account.js';
import { ServiceError } from './errors.js';
import type { System } from './system.js';

/** Hidden by ProtectHome=yes. */
const HOMES = ['/home', '/root', '/run/user'];

const within = (file: string, folders: readonly string[]): boolean =>
  folders.some((folder) => file === folder || file.startsWith(`${folder}${path.sep}`));

const real = (file: string): Promise<string> => realpath(file).catch(() => file);

/** Homes are hidden, unless the service runs from one: then it sees them, but cannot write. */
export async function homeProtection(files: readonly string[]): Promise<'yes' | 'read-only'> {
  const places = await Promise.all(files.map(real));
  return places.some((file) => within(file, HOMES)) ? 'read-only' : 'yes';
}

/** @throws ServiceError when a file lies in one of the folders, which the service does not see */
export async function requireVisible(files: readonly string[], hidden: readonly string[]): Promise<void> {
  for (const file of files) {
    if (within(await real(file), hidden)) {
      throw new ServiceError(
        `${file} is in a temporary folder, which a service does not see: move it to /opt`,
      );
    }
  }
}

/** @throws ServiceError when the user cannot start the server's code */
export async function requireRunnable(system: System, user: ServiceUser, node: string, root: string) {
  const cli = path.join(root, 'dist/src/cli.js');
  const { ok, reason } = await system.run(node, [cli, '--version'], user);
  if (ok) return;
  throw new ServiceError(
    `User ${user.name} cannot run ${node} with ${cli}: put both where everybody may read them, ` +
      `such as /opt and /usr/bin, or name another user with --user.\n${reason.split('\n')[0]}`,
  );
}

/** @throws ServiceError when the user cannot read a file */
export async function requireReadable(system: System, user: ServiceUser, file: string): Promise<void> {
  const { ok } = await system.run('test', ['-r', file], user);
  if (!ok) {
    throw new ServiceError(
      `User ${user.name} cannot read ${file}: move it to where everybody may read it, or change its owner or mode`,
    );
  }
}
