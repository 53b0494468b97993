import { KEY, ServerProcess } from '../harness/server-process.js';

/** What every client library is configured with. */
export const MODEL = 'lmserv-demo';
export { KEY };

export const DISH = 'Name a famous Peruvian dish';
export const WEATHER = 'What is the weather in Lima?';
/** Longer than the context of the demo model. */
export const TOO_LONG = 'word '.repeat(20_000);

/** A process of its own, as users run it. Its replies are broken off, rather than resumed, when a worker dies. */
export const startServer = (settings) =>
  new ServerProcess({
    settings: { LLM_SLOTS: '2', REPLY_RESUME: 'off', ...settings },
    keepRequests: true,
  }).untilStarted();

/** Makes llama.cpp ignore the end of a turn, so that a reply runs until it is stopped. */
export const ENDLESS = { LLM_EXTRA_ARGS: '--ignore-eos' };

/** Kills all workers, as the kernel would. */
export function killWorkers(server) {
  for (const pid of server.workerPids()) process.kill(pid, 'SIGKILL');
}
