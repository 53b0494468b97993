import { pino, type Logger as PinoLogger } from 'pino';
import { prettyFactory } from 'pino-pretty';
import { stdoutOutput, type LogOutput } from './log-output.js';

export type Logger = PinoLogger;

const readableLine = prettyFactory({
  colorize: true,
  ignore: 'pid,hostname',
  translateTime: 'SYS:HH:MM:ss.l',
  singleLine: true,
});

export interface LoggerOptions {
  /** pino's level in lower case: fatal, error, warn, info, debug, trace or silent. */
  readonly level: string;
  /** Readable lines with colour instead of JSON: for a terminal. */
  readonly readable: boolean;
}

/**
 * One JSON line per event on stdout, or readable lines on a terminal. If lines had to be dropped, a line `log_dropped`
 * says how many.
 */
export function createLogger({ level, readable }: LoggerOptions, output: LogOutput = stdoutOutput()): Logger {
  const format = readable ? readableLine : (line: string) => line;
  const write = (line: string) => output.write(format(line));
  const logger = pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, { write });
  output.onRecovered = (lines) =>
    logger.warn({ event: 'log_dropped', lines }, 'log lines could not be written');
  return logger;
}
