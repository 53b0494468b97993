import { isatty } from 'node:tty';
import { setFlagsFromString } from 'node:v8';
import { interruptible } from '../install/early/interrupt.mjs';
import { ensureLlama } from '../install/llama/ensure.js';
import { coalesce } from '../files/coalesce.js';
import { DEFAULT_KEY, loadConfig, processEnv, type Config } from '../config/load.js';
import { checkSelf, ServiceManager, systemdNotify } from '../observe/service-manager.js';
import { ROOT } from '../config/root.js';
import { LMServ } from '../app/server.js';
import { connectUrl } from '../wire/address.js';
import { serviceEnv, type ServiceEnv } from './service-env.js';

export interface ServeOptions {
  readonly host?: string;
  readonly port?: string;
  readonly provider?: string;
  readonly model?: string;
  readonly disableProfiles?: boolean;
  readonly strictProfiles?: boolean;
}

/** Time for a forced shutdown, milliseconds. */
const FORCED_EXIT_MS = 500;

const STDIN = 0;

/** Runs the server until a signal: the first one shuts it down gracefully, the second at once. */
export async function serve(options: ServeOptions, exit: (code: number) => void): Promise<void> {
  const { host, port, provider, model, disableProfiles, strictProfiles } = options;
  const config = loadConfig(
    { HOST: host, PORT: port, LLM_CONNECT_PROVIDER: provider, LLM_CONNECT_MODEL: model },
    { disableProfiles, strictProfiles },
  );
  if (!(await ensureBinary(config))) return exit(1);
  const service = serviceEnv();
  const server = new LMServ(config, { listenFd: service.listenFd });
  const manager = serviceManager(service, server);
  const shutdown = new Shutdown({ server, manager, exit, graceMs: config.shutdownGraceMs });
  const hangUpEnds = isatty(STDIN) && service.notifySocket === undefined;
  handleSignals(shutdown, hangUpEnds ? undefined : () => manager.reload(() => server.reload()));
  handleCrash(server, shutdown);
  await server.start();
  // With a young generation of 1 MiB, large bodies and events are copied repeatedly, which makes pauses ten times longer.
  setFlagsFromString('--semi-space-growth-factor=2');
  void manager.watch();
  await server.ready;
  void manager.watch();
  // A closed stderr must not end the server.
  process.stderr.on('error', () => undefined).write(greeting(config, server));
}

/** Builds llama.cpp if a model needs it and there is none; prints what is missing if that fails. */
async function ensureBinary(config: Config): Promise<boolean> {
  const needed = Object.values(config.file.models).some((model) => model.binPath === undefined);
  return !needed || interruptible((signal) => ensureLlama({ root: ROOT, signal }));
}

/** Reports the state of the server to systemd, if systemd started it. */
function serviceManager({ notifySocket, watchdogMs }: ServiceEnv, server: LMServ): ServiceManager {
  const notify =
    notifySocket === undefined
      ? undefined
      : systemdNotify({
          socket: notifySocket,
          searchPath: processEnv().PATH,
          onError: (reason) =>
            server.logger.warn({ event: 'notify_failed', reason }, 'systemd could not be notified'),
        });
  const check = (timeoutMs: number) => checkSelf(server.address, timeoutMs);
  return new ServiceManager({ notify, watchdogMs, check });
}

/** @param reload on SIGHUP; without it SIGHUP says that the terminal was closed, which ends the server. */
function handleSignals(shutdown: Shutdown, reload: (() => Promise<void>) | undefined): void {
  let stopping = false;
  const stop = () => {
    stopping = true;
    void shutdown.graceful();
  };
  const onSignal = () => (stopping ? shutdown.force() : stop());
  process.on('SIGTERM', onSignal).on('SIGINT', onSignal);
  const reloadOnce = reload && coalesce(reload);
  process.on('SIGHUP', () => {
    if (reloadOnce) void reloadOnce();
    // A closed terminal sends it more than once, by its shell and by the kernel.
    else if (!stopping) stop();
  });
}

/** Ends all workers on an unexpected error. */
function handleCrash(server: LMServ, shutdown: Shutdown): void {
  const onCrash = (error: unknown) => {
    server.logger.fatal({ event: 'crash', err: error }, 'uncaught error');
    shutdown.force();
  };
  process.on('uncaughtException', onCrash).on('unhandledRejection', onCrash);
}

interface ShutdownOptions {
  readonly server: LMServ;
  readonly manager: ServiceManager;
  readonly exit: (code: number) => void;
  /** Time for open replies to finish, milliseconds. */
  readonly graceMs: number;
}

/** Graceful and forced shutdown. A forced one has its own exit code, even if the graceful one finishes meanwhile. */
class Shutdown {
  readonly #options: ShutdownOptions;
  #forced = false;

  constructor(options: ShutdownOptions) {
    this.#options = options;
  }

  async graceful(): Promise<void> {
    const { server, manager, exit, graceMs } = this.#options;
    try {
      await Promise.all([server.stop(), manager.stopping(graceMs)]);
    } catch {
      this.force();
    }
    if (!this.#forced) exit(0);
  }

  /** Sends SIGKILL to the workers and leaves a moment to log their exits. */
  force(): void {
    this.#forced = true;
    this.#options.server.kill();
    setTimeout(() => this.#options.exit(1), FORCED_EXIT_MS);
  }
}

/** Explains how to use the server. Only the default key is shown. */
function greeting(config: Config, server: LMServ): string {
  const url = connectUrl(config.host, server.port);
  const key = config.apiKey === DEFAULT_KEY ? DEFAULT_KEY : '$API_KEY';
  const header = config.open ? '' : `-H "X-API-Key: ${key}" `;
  const body = `-d '{"prompt":"Name a famous Peruvian dish"}'`;
  return (
    `\nLMServ is ready at ${url} with ${server.model}. Try it:\n\n` +
    `  curl -N ${header}-H "Content-Type: application/json" ${body} ${url}/chat\n\n` +
    `OpenAI clients: base URL ${url}/v1, key as above. Ctrl-C stops the server.\n\n`
  );
}
