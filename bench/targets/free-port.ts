import { once } from 'node:events';
import { createServer, connect, type AddressInfo } from 'node:net';
import { BenchError } from '../errors.js';
import type { Program } from '../program.js';

/** A port of 127.0.0.1 that was free a moment ago, for programs that cannot choose one themselves. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Between two attempts, milliseconds. */
const RETRY_MS = 50;

/**
 * Waits until a program listens, and stops it if it does not come to that.
 *
 * @throws BenchError when the program ends first, or the signal's reason.
 */
export async function untilListening(port: number, program: Program, signal: AbortSignal): Promise<void> {
  let ended = false;
  void program.ended().then(() => (ended = true));
  try {
    while (!(await answers(port))) {
      signal.throwIfAborted();
      if (ended) throw new BenchError(`it ended at its start:\n${program.tail}`);
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  } catch (error) {
    await program.stop();
    throw error;
  }
}

async function answers(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
