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

/** Time for a forced end, milliseconds. */
const FORCED_EXIT_MS = 500;

/** Starts the server and keeps it until a signal: the first ends it in good order, the second at once. */
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
  const ending = new Ending({ server, manager, exit, graceMs: config.shutdownGraceMs });
  handleSignals(ending, () => manager.reload(() => server.reload()));
  handleCrash(server, ending);
  await server.start();
  // In a young generation of 1 MiB large bodies and events are copied again and again: ten times the time of a pause.
  setFlagsFromString('--semi-space-growth-factor=2');
  void manager.watch();
  await server.ready;
  void manager.watch();
  // A closed stderr must not end the server.
  process.stderr.on('error', () => undefined).write(greeting(config, server));
}

/** Builds llama.cpp when a model needs it and there is none; says what is missing when that cannot be done. */
async function ensureBinary(config: Config): Promise<boolean> {
  const needed = Object.values(config.file.models).some((model) => model.binPath === undefined);
  return !needed || interruptible((signal) => ensureLlama({ root: ROOT, signal }));
}

/** Tells systemd, where it started this process, how the server is. */
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

function handleSignals(ending: Ending, reload: () => Promise<void>): void {
  let stopping = false;
  const onSignal = () => {
    if (stopping) return ending.force();
    stopping = true;
    void ending.inOrder();
  };
  process.on('SIGTERM', onSignal).on('SIGINT', onSignal);
  const reloadOnce = coalesce(reload);
  process.on('SIGHUP', () => void reloadOnce());
}

/** Whatever was not planned leaves no worker behind. */
function handleCrash(server: LMServ, ending: Ending): void {
  const onCrash = (error: unknown) => {
    server.logger.fatal({ event: 'crash', err: error }, 'uncaught error');
    ending.force();
  };
  process.on('uncaughtException', onCrash).on('unhandledRejection', onCrash);
}

interface EndingOptions {
  readonly server: LMServ;
  readonly manager: ServiceManager;
  readonly exit: (code: number) => void;
  /** What open replies have, milliseconds. */
  readonly graceMs: number;
}

/** The two ways to end. A forced end has its own exit code, also when the orderly one is done meanwhile. */
class Ending {
  #forced = false;

  constructor(private readonly options: EndingOptions) {}

  async inOrder(): Promise<void> {
    const { server, manager, exit, graceMs } = this.options;
    try {
      await Promise.all([server.stop(), manager.stopping(graceMs)]);
    } catch {
      this.force();
    }
    if (!this.#forced) exit(0);
  }

  /** The children get SIGKILL now; a moment lets their exits be logged. */
  force(): void {
    this.#forced = true;
    this.options.server.kill();
    setTimeout(() => this.options.exit(1), FORCED_EXIT_MS);
  }
}

/** How to talk to it. A key of the user's own is never shown. */
function greeting(config: Config, server: LMServ): string {
  const url = connectUrl(config.host, server.port);
  const key = config.apiKey === DEFAULT_KEY ? DEFAULT_KEY : '$API_KEY';
  const header = config.open ? '' : `-H "X-API-Key: ${key}" `;
  const body = `-d '{"prompt":"Name a famous Peruvian dish"}'`;
  return (
    `\nLMServ is ready at ${url} with ${server.model}. Talk to it:\n\n` +
    `  curl -N ${header}-H "Content-Type: application/json" ${body} ${url}/chat\n\n` +
    `OpenAI clients: base URL ${url}/v1, key as above. Ctrl-C stops the server.\n\n`
  );
}
