import { destination, pino, type Logger as PinoLogger } from 'pino';
import pretty from 'pino-pretty';

export type Logger = PinoLogger;

export interface LoggerOptions {
  /** pino's level in lower case: fatal, error, warn, info, debug, trace or silent. */
  readonly level: string;
  /** Readable lines with colour instead of JSON: for a terminal. */
  readonly readable: boolean;
}

/** One JSON line an event on stdout, or readable ones on a terminal. */
export function createLogger({ level, readable }: LoggerOptions): Logger {
  const stream = readable
    ? pretty({
        colorize: true,
        ignore: 'pid,hostname',
        translateTime: 'SYS:HH:MM:ss.l',
        singleLine: true,
        sync: true,
      })
    : destination({ fd: 1, sync: true });
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, stream);
}
