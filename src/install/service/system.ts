/** The installer's interface to the machine, including systemd. Tests replace it. */
import { existsSync } from 'node:fs';
import { execa } from 'execa';
import { UserError } from '../../errors.js';

/** The service cannot be installed; the message says what to do. */
export class ServiceError extends UserError {}

/** The account that a program runs as. */
export interface Account {
  readonly uid: number;
  readonly gid: number;
}

export interface Result {
  readonly ok: boolean;
  readonly stdout: string;
  /** The program's stderr, otherwise how it ended. */
  readonly reason: string;
}

export interface System {
  /** Whether this is root. */
  readonly privileged: boolean;
  /** Whether systemd runs this machine. */
  readonly booted: boolean;
  /** Runs a program to its end, without a shell. Never rejects. */
  run(program: string, args: readonly string[], as?: Account): Promise<Result>;
}

export const SERVICE = 'lmserv.service';
export const SOCKET = 'lmserv.socket';

export const thisSystem = (): System => ({
  privileged: process.getuid?.() === 0,
  booted: existsSync('/run/systemd/system'),
  run: async (program, args, as) => {
    // Another user may lack access to the current folder.
    const options = { cwd: '/', stdin: 'ignore', reject: false, ...as } as const;
    const result = await execa(program, args, options);
    const said = result.stderr || (result.shortMessage ?? '');
    return { ok: !result.failed, stdout: result.stdout, reason: said };
  },
});

/** @throws ServiceError with systemctl's output */
export async function systemctl(system: System, ...args: string[]): Promise<void> {
  const { ok, reason } = await system.run('systemctl', args);
  if (ok) return;
  throw new ServiceError(
    `systemctl ${args.join(' ')} failed: ${reason}\nIts log: journalctl -u ${SERVICE} -n 50 --no-pager`,
  );
}

const isActive = async (system: System, unit: string): Promise<boolean> =>
  (await system.run('systemctl', ['is-active', '--quiet', unit])).ok;

/** Starts or restarts the service: a running server finishes its replies first. A socket is started before it. */
export async function startAgain(system: System, socket: boolean): Promise<void> {
  if (socket && !(await isActive(system, SOCKET))) {
    // A port that the running server holds cannot be given to systemd.
    await systemctl(system, 'stop', SERVICE);
    await systemctl(system, 'start', SOCKET);
  }
  await systemctl(system, 'restart', SERVICE);
}
