/** The user that the service runs as. */
import { OWN_USER } from './options.js';
import { ServiceError } from './errors.js';
import type { Account, System } from './system.js';

export interface ServiceUser extends Account {
  readonly name: string;
}

/** Groups that own GPU devices. */
const GPU_GROUPS = ['render', 'video'];

async function lookUp(system: System, name: string): Promise<ServiceUser | undefined> {
  const user = await system.run('getent', ['passwd', name]);
  if (!user.ok) return undefined;
  const [, , uid, gid] = user.stdout.split(':');
  return { name, uid: Number(uid), gid: Number(gid) };
}

/**
 * A user of its own rather than systemd's DynamicUser: key files and models need an owner that outlives a start, and
 * what it may read can be checked beforehand.
 */
async function create(system: System, name: string): Promise<void> {
  const home = ['--home-dir', '/var/lib/lmserv', '--no-create-home', '--shell', '/usr/sbin/nologin'];
  const made = await system.run('useradd', ['--system', '--user-group', ...home, name]);
  if (!made.ok) throw new ServiceError(`User ${name} cannot be made: ${made.reason}`);
}

/** @returns the user, and whether it was made. @throws ServiceError when there is none by a name of one's own */
export async function ensureUser(
  system: System,
  name: string,
): Promise<{ user: ServiceUser; made: boolean }> {
  const known = await lookUp(system, name);
  if (known) return { user: known, made: false };
  if (name !== OWN_USER) throw new ServiceError(`--user ${name}: there is no such user`);
  await create(system, name);
  const user = await lookUp(system, name);
  if (!user) throw new ServiceError(`User ${name} was made but cannot be looked up`);
  return { user, made: true };
}

/** Of the groups that own GPU devices those that this machine has: a unit with an unknown one does not start. */
export async function gpuGroups(system: System): Promise<string[]> {
  const found = await Promise.all(GPU_GROUPS.map((name) => system.run('getent', ['group', name])));
  return GPU_GROUPS.filter((_, index) => found[index]?.ok);
}
