import type { BodiesOptions } from '../options.js';
import { runBodies, type BodiesResult } from './run.js';
import { WatchedServer } from './server.js';

/** Share of the run after which memory is taken as the start of its growth: what is allocated once is there by then. */
const WARM = 0.1;

/**
 * Sends generated bad requests to a real LMServ and prints what became of them. The exit code is 1 when one got a 5xx
 * that was not planned or no reply, or when a worker or the server ended.
 */
export async function main(
  { count, seed, concurrency }: BodiesOptions,
  { root, signal }: { readonly root: string; readonly signal: AbortSignal },
): Promise<void> {
  const server = new WatchedServer(root);
  try {
    const url = await server.ready();
    print(`${count} bad requests, seed ${seed}, ${concurrency} at once`);
    const memory = { start: server.memory(), warm: 0 };
    const result = await runBodies({
      ...{ url, key: server.key, count, seed, concurrency, signal },
      watch: () => server.fault(),
      onProgress: (done) => {
        if (done >= count * WARM) memory.warm ||= server.memory();
        if (done % 50_000 === 0) print(`${done} sent, server at ${server.memory().toFixed(0)} MiB`);
      },
    });
    report(result, server, memory);
  } finally {
    await server.stop();
  }
}

function report(result: BodiesResult, server: WatchedServer, memory: { start: number; warm: number }): void {
  const { tally, sent, seconds, failure } = result;
  print(`\n${tally.toString()}\n`);
  print(`${sent} sent in ${seconds.toFixed(0)} s, ${(sent / seconds).toFixed(0)} a second`);
  const mib = [memory.start, memory.warm, server.fault() ? 0 : server.memory()].map((value) =>
    value.toFixed(0),
  );
  print(`memory of the server: ${mib[0]} MiB at the start, ${mib[1]} when warm, ${mib[2]} at the end`);
  if (!failure) return print('no unplanned 5xx, no worker or server ended');
  process.exitCode = 1;
  print(`FAILED: ${failure.reason}\nseed ${failure.seed}, number ${failure.index}\n${failure.example}`);
  server.errors.slice(0, 3).forEach(print);
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
