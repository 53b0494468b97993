import { ConfigError } from '../config/load.js';

/** The information that systemd passes to a service: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3). */
export interface ServiceEnv {
  /** The socket for messages; undefined without a service manager. */
  readonly notifySocket: string | undefined;
  /** Silence after which systemd kills the service, milliseconds. */
  readonly watchdogMs: number | undefined;
  /** Descriptor of an inherited listening socket. */
  readonly listenFd: number | undefined;
}

/** The first inherited descriptor. */
const FIRST_LISTEN_FD = 3;

/**
 * Reads the information for the process `pid` and ignores that for other processes.
 *
 * @throws ConfigError for more than one socket.
 */
export function serviceEnv(
  env: Readonly<Record<string, string | undefined>> = process.env,
  pid = process.pid,
): ServiceEnv {
  const forUs = (name: string) => env[name] === String(pid);
  const watched = env.WATCHDOG_PID === undefined || forUs('WATCHDOG_PID');
  const watchdogMs = watched ? Number(env.WATCHDOG_USEC) / 1000 : NaN;
  const sockets = forUs('LISTEN_PID') ? Number(env.LISTEN_FDS) : 0;
  if (sockets > 1) {
    const message = `systemd passes ${sockets} sockets; keep one ListenStream in lmserv.socket`;
    throw new ConfigError({ variable: 'LISTEN_FDS', message });
  }
  return {
    notifySocket: env.NOTIFY_SOCKET || undefined,
    watchdogMs: watchdogMs > 0 ? watchdogMs : undefined,
    listenFd: sockets === 1 ? FIRST_LISTEN_FD : undefined,
  };
}
