/** What is asked of systemd. */
import { ServiceError } from './errors.js';
import type { System } from './system.js';

export const SERVICE = 'lmserv.service';
export const SOCKET = 'lmserv.socket';

/** @throws ServiceError with what systemctl said */
export async function systemctl(system: System, ...args: string[]): Promise<void> {
  const { ok, reason } = await system.run('systemctl', args);
  if (ok) return;
  throw new ServiceError(
    `systemctl ${args.join(' ')} failed: ${reason}\nIts log: journalctl -u ${SERVICE} -n 50 --no-pager`,
  );
}

export const isActive = async (system: System, unit: string): Promise<boolean> =>
  (await system.run('systemctl', ['is-active', '--quiet', unit])).ok;

/** Starts, or starts again: a running server finishes its replies first. With a socket, that goes first. */
export async function startAgain(system: System, socket: boolean): Promise<void> {
  if (socket && !(await isActive(system, SOCKET))) {
    // A port that the running server holds cannot be given to systemd.
    await systemctl(system, 'stop', SERVICE);
    await systemctl(system, 'start', SOCKET);
  }
  await systemctl(system, 'restart', SERVICE);
}
