import { interruptible } from '../../scripts/bootstrap/interrupt.mjs';
import { ensureLlama } from '../../scripts/setup/ensure.js';
import { DEFAULT_KEY, loadConfig, type Config } from '../config.js';
import { ROOT } from '../root.js';
import { LMServ } from '../server.js';

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
  const server = new LMServ(config);
  handleSignals(server, exit);
  handleCrash(server, exit);
  await server.start();
  await server.ready;
  // A greeting that nobody can read is no reason to end.
  process.stderr.on('error', () => undefined).write(greeting(config, server));
}

/** Builds llama.cpp when a model needs it and there is none; says what is missing when that cannot be done. */
async function ensureBinary(config: Config): Promise<boolean> {
  const needed = Object.values(config.file.models).some((model) => model.binPath === undefined);
  return !needed || interruptible((signal) => ensureLlama({ root: ROOT, signal }));
}

function handleSignals(server: LMServ, exit: (code: number) => void): void {
  let stopping = false;
  const onSignal = () => {
    if (stopping) return forceExit(server, exit);
    stopping = true;
    void server.stop().then(
      () => exit(0),
      () => forceExit(server, exit),
    );
  };
  process.on('SIGTERM', onSignal).on('SIGINT', onSignal);
  process.on('SIGHUP', () => void server.reload());
}

/** Whatever was not planned leaves no worker behind. */
function handleCrash(server: LMServ, exit: (code: number) => void): void {
  const onCrash = (error: unknown) => {
    server.logger.fatal({ event: 'crash', err: error }, 'uncaught error');
    forceExit(server, exit);
  };
  process.on('uncaughtException', onCrash).on('unhandledRejection', onCrash);
}

/** The children get SIGKILL now; a moment lets their exits be logged. */
function forceExit(server: LMServ, exit: (code: number) => void): void {
  server.kill();
  setTimeout(() => exit(1), FORCED_EXIT_MS);
}

/** How to talk to it. A key of the user's own is never shown. */
function greeting(config: Config, server: LMServ): string {
  const host = ['0.0.0.0', '::'].includes(config.host) ? 'localhost' : config.host;
  const url = `http://${host.includes(':') ? `[${host}]` : host}:${server.port}`;
  const key = config.apiKey === DEFAULT_KEY ? DEFAULT_KEY : '$API_KEY';
  const header = config.open ? '' : `-H "X-API-Key: ${key}" `;
  const body = `-d '{"prompt":"Name a famous Peruvian dish"}'`;
  return (
    `\nLMServ is ready at ${url} with ${server.model}. Talk to it:\n\n` +
    `  curl -N ${header}-H "Content-Type: application/json" ${body} ${url}/chat\n\n` +
    `OpenAI clients: base URL ${url}/v1, key as above. Ctrl-C stops the server.\n\n`
  );
}
