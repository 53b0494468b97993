import { fileURLToPath } from 'node:url';
import { NODE_ARGS, Program } from '../program.js';
import { freePort, untilListening } from './free-port.js';
import type { Target } from './target.js';

/** The least that Node needs to do what `/v1/chat/completions` does, in front of another target. */
export async function bare(behind: Target, signal: AbortSignal): Promise<Target> {
  const port = await freePort();
  const script = fileURLToPath(new URL('bare-server.js', import.meta.url));
  const program = new Program(process.execPath, [...NODE_ARGS, script, String(port), behind.url], {
    cwd: process.cwd(),
    env: {},
  });
  await untilListening(port, program, signal);
  return {
    ...behind,
    name: 'bare',
    url: `http://127.0.0.1:${port}/v1/chat/completions`,
    pids: [program.pid!],
    stop: () => program.stop(),
  };
}
