import { ConfigError } from '../config/load.js';

/** What systemd tells a service it starts: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3). */
export interface ServiceEnv {
  /** Where it takes messages; undefined without a service manager. */
  readonly notifySocket: string | undefined;
  /** Silence after which it kills the service, milliseconds. */
  readonly watchdogMs: number | undefined;
  /** Descriptor of the listening socket it hands over. */
  readonly listenFd: number | undefined;
}

/** The first descriptor that is handed over. */
const FIRST_LISTEN_FD = 3;

/**
 * Reads what the service manager tells the process `pid`; what it tells another process is ignored.
 *
 * @throws ConfigError when more than one socket is handed over.
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
    const message = `systemd hands over ${sockets} sockets; keep one ListenStream in lmserv.socket`;
    throw new ConfigError({ variable: 'LISTEN_FDS', message });
  }
  return {
    notifySocket: env.NOTIFY_SOCKET || undefined,
    watchdogMs: watchdogMs > 0 ? watchdogMs : undefined,
    listenFd: sockets === 1 ? FIRST_LISTEN_FD : undefined,
  };
}
