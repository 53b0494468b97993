import { setTimeout as sleep } from 'node:timers/promises';
import type { Plan } from './plan.js';
import { stillLlama } from './processes.js';
import type { Exit, Server } from './server.js';
import { STREAMED_ROUTES } from './routes.js';
import { untilAllBusy } from './settle.js';

/** More than a worker gives within the grace. */
const ENDLESS_TOKENS = 4_000;

/** How long after the grace the server may still be there before it is killed, milliseconds. */
const PATIENCE_MS = 10_000;

/** When a request comes too late, milliseconds after SIGTERM. */
const LATE_MS = 100;

export interface Ending extends Exit {
  /** From SIGTERM to the end of the process, milliseconds. */
  readonly ms: number;
  /** Workers that were left behind. */
  readonly orphans: readonly number[];
}

export interface EndingOptions {
  readonly server: Server;
  readonly graceMs: number;
  readonly workers: number;
  /** Sends a request that is counted as all others. */
  readonly send: (plan: Plan) => Promise<void>;
}

/** SIGTERM in the middle of streams that have more to say than the grace allows, and one request that comes too late. */
export async function endServer({ server, graceMs, workers, send }: EndingOptions): Promise<Ending> {
  const open = Array.from({ length: 2 * workers }, () => send(endless()));
  await untilAllBusy(server.target);
  const began = performance.now();
  server.signal('SIGTERM');
  await Promise.race([sleep(LATE_MS), server.exited]);
  if (server.exit === undefined) open.push(send(endless()));
  const timer = setTimeout(() => server.signal('SIGKILL'), graceMs + PATIENCE_MS);
  const exit = await server.exited;
  clearTimeout(timer);
  const ms = performance.now() - began;
  await Promise.all(open);
  return { ...exit, ms, orphans: removeOrphans(server.log.pids) };
}

/** A run leaves nothing behind, whatever the server does. */
function removeOrphans(pids: readonly number[]): number[] {
  const orphans = stillLlama(pids);
  for (const pid of orphans) process.kill(pid, 'SIGKILL');
  return orphans;
}

/** A reply that goes on after the model's own end. */
function endless(): Plan {
  const route = STREAMED_ROUTES.find(({ path }) => path === '/v1/chat/completions')!;
  const body = { ...route.body('Tell me a story', ENDLESS_TOKENS), ignore_eos: true };
  return {
    actor: 'plain',
    call: { method: 'POST', path: route.path, body: JSON.stringify(body) },
    manner: { kind: 'patient' },
    asked: { kind: 'open', route },
  };
}
