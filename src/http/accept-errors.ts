import type { Logger } from '../observe/logger.js';

/** Shortest time between two lines, milliseconds: the kernel offers a connection again until it is taken. */
const QUIET_MS = 1_000;

/**
 * What an HTTP server does when it cannot take a connection, for want of descriptors mostly: it says so. Open
 * connections go on, and new ones are taken as soon as others end.
 *
 * @param now a clock, milliseconds.
 */
export function onAcceptError(logger: Logger, now = () => performance.now()): (error: Error) => void {
  let quietUntil = -Infinity;
  return (error) => {
    if (now() < quietUntil) return;
    quietUntil = now() + QUIET_MS;
    const { code } = error as NodeJS.ErrnoException;
    logger.error({ event: 'accept_failed', code }, 'a connection could not be taken');
  };
}
