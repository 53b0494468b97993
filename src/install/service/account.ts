/** The user that the service runs as, and checks in advance that it can access what it needs. */
import { realpath } from 'node:fs/promises';
import path from 'node:path';
import { ServiceError, type Account, type System } from './system.js';

/** The user that is created if none is named. */
export const OWN_USER = 'lmserv';

export interface ServiceUser extends Account {
  readonly name: string;
}

/** Groups that own GPU devices. */
const GPU_GROUPS = ['render', 'video'];

/** Hidden by ProtectHome=yes. */
const HOMES = ['/home', '/root', '/run/user'];

/** @returns the user, and whether it was created. @throws ServiceError if the operator named an unknown user */
export async function ensureUser(
  system: System,
  name: string,
): Promise<{ user: ServiceUser; made: boolean }> {
  const known = await lookUp(system, name);
  if (known) return { user: known, made: false };
  if (name !== OWN_USER) throw new ServiceError(`--user ${name}: no such user exists`);
  await create(system, name);
  const user = await lookUp(system, name);
  if (!user) throw new ServiceError(`User ${name} was created but cannot be looked up`);
  return { user, made: true };
}

async function lookUp(system: System, name: string): Promise<ServiceUser | undefined> {
  const user = await system.run('getent', ['passwd', name]);
  if (!user.ok) return undefined;
  const [, , uid, gid] = user.stdout.split(':');
  return { name, uid: Number(uid), gid: Number(gid) };
}

/**
 * Creates a dedicated user. systemd's DynamicUser would not do: key files and models need a persistent owner, and its
 * access can be checked beforehand.
 */
async function create(system: System, name: string): Promise<void> {
  const home = ['--home-dir', '/var/lib/lmserv', '--no-create-home', '--shell', '/usr/sbin/nologin'];
  const made = await system.run('useradd', ['--system', '--user-group', ...home, name]);
  if (!made.ok) throw new ServiceError(`User ${name} cannot be created: ${made.reason}`);
}

/** The groups that own GPU devices and exist on this machine; a unit with an unknown group does not start. */
export async function gpuGroups(system: System): Promise<string[]> {
  const found = await Promise.all(GPU_GROUPS.map((name) => system.run('getent', ['group', name])));
  return GPU_GROUPS.filter((_, index) => found[index]?.ok);
}

/** Home folders are hidden, unless the service runs from one; then they are visible but read-only. */
export async function homeProtection(files: readonly string[]): Promise<'yes' | 'read-only'> {
  const places = await Promise.all(files.map(real));
  return places.some((file) => within(file, HOMES)) ? 'read-only' : 'yes';
}

const real = (file: string): Promise<string> => realpath(file).catch(() => file);

const within = (file: string, folders: readonly string[]): boolean =>
  folders.some((folder) => file === folder || file.startsWith(`${folder}${path.sep}`));

/** @throws ServiceError if a file is in one of the folders, which are hidden from the service */
export async function requireVisible(files: readonly string[], hidden: readonly string[]): Promise<void> {
  for (const file of files) {
    if (within(await real(file), hidden)) {
      throw new ServiceError(
        `${file} is in a temporary folder, which is hidden from a service: move it to /opt`,
      );
    }
  }
}

/** @throws ServiceError if the user cannot run the server's code */
export async function requireRunnable(system: System, user: ServiceUser, node: string, root: string) {
  const cli = path.join(root, 'dist/src/cli.js');
  const { ok, reason } = await system.run(node, [cli, '--version'], user);
  if (ok) return;
  throw new ServiceError(
    `User ${user.name} cannot run ${node} with ${cli}: put both where every user can read them, ` +
      `such as /opt and /usr/bin, or name another user with --user.\n${reason.split('\n')[0]}`,
  );
}

/** @throws ServiceError if the user cannot read a file */
export async function requireReadable(system: System, user: ServiceUser, file: string): Promise<void> {
  const { ok } = await system.run('test', ['-r', file], user);
  if (!ok) {
    throw new ServiceError(
      `User ${user.name} cannot read ${file}: move it to where every user can read it, or change its owner or mode`,
    );
  }
}
