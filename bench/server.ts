import { UserError } from '../src/errors.js';
import { listeningPort } from '../test/harness/processes.js';
import { CLI, ServerProcess, type ServerOptions } from '../test/harness/server-process.js';

/** More arguments for the Node of LMServ and of `bare`, such as `--cpu-prof`: BENCH_NODE_ARGS, split at spaces. */
export const NODE_ARGS: readonly string[] = (process.env.BENCH_NODE_ARGS ?? '').split(' ').filter(Boolean);

/** The same for all benchmarks: nothing is cached between requests, nothing is refused, no reply ends early. */
const SETTINGS = {
  UNKNOWN_MODEL: 'default',
  QUEUE_LIMIT: '256',
  QUEUE_TIMEOUT_SECS: '600',
  SHUTDOWN_GRACE_SECS: '0',
  LLM_EXTRA_ARGS: '--ignore-eos',
};

export interface BenchServerOptions extends Pick<ServerOptions, 'settings' | 'command'> {
  /** The mock generates, and there are no workers. */
  readonly mock?: boolean;
  readonly signal?: AbortSignal;
}

/** An LMServ without waiting for its start. */
export function spawnServer({ settings, command, mock }: BenchServerOptions): ServerProcess {
  const serve = [...NODE_ARGS, CLI, 'serve', ...(mock ? ['--provider', 'mock'] : [])];
  return new ServerProcess({
    settings: { ...SETTINGS, ...settings },
    command: command ?? [process.execPath, ...serve],
  });
}

/** An LMServ whose workers all take requests. @throws UserError, or the signal's reason. */
export function startServer(options: BenchServerOptions): Promise<ServerProcess> {
  const workers = options.mock ? 0 : Number(options.settings?.LLM_WORKERS ?? 1);
  return spawnServer(options).untilStarted(workers, options.signal);
}

/** The address of the first worker's own endpoint. @throws UserError if it has none over TCP. */
export function workerUrl(server: ServerProcess): string {
  const port = listeningPort(server.workerPids()[0]!);
  if (port !== undefined) return `http://127.0.0.1:${port}`;
  throw new UserError('the worker listens on no port: the benchmark needs a llama-cli, not a llama-server');
}
