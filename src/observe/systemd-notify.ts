import { execa } from 'execa';
import type { Notify } from './service-manager.js';

export interface SystemdNotifyOptions {
  /** NOTIFY_SOCKET: where systemd listens. */
  readonly socket: string;
  /** PATH, on which the program is found. */
  readonly searchPath: string | undefined;
  /** Called for each message that was not taken. */
  readonly onError: (reason: string) => void;
}

/** Longest time for one message, milliseconds. */
const SEND_TIMEOUT_MS = 5_000;

/**
 * Messages through the program `systemd-notify`, because Node has no UNIX datagram sockets. It waits until systemd has
 * taken the message (so no --no-block): systemd must still find the sender's process to know its unit. The unit needs
 * `NotifyAccess=all`, because the sender is a child.
 */
export function systemdNotify({ socket, searchPath, onError }: SystemdNotifyOptions): Notify {
  const env = { NOTIFY_SOCKET: socket, PATH: searchPath };
  return async (fields) => {
    const options = {
      env,
      extendEnv: false,
      stdin: 'ignore',
      reject: false,
      timeout: SEND_TIMEOUT_MS,
      // Ours may have been removed, and execa would throw.
      cwd: '/',
    } as const;
    const result = await execa('systemd-notify', fields, { ...options, killSignal: 'SIGKILL' });
    if (result.failed) onError(result.shortMessage ?? result.stderr);
  };
}
