import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { execa } from 'execa';
import { exists } from '../../src/install/files.js';
import { BenchError } from '../errors.js';
import { benchCache } from '../model/models.js';
import { Program } from '../program.js';
import { freePort, untilListening } from './free-port.js';
import type { Target } from './target.js';

const PACKAGE = '@portkey-ai/gateway';
const VERSION = '1.15.2';

/** With version 1.19 of its HTTP server it answers each stream with an error 500 (`immutable` headers). */
const PACKAGES = {
  private: true,
  dependencies: { [PACKAGE]: VERSION },
  overrides: { '@hono/node-server': '1.13.8' },
};

/** Portkey's gateway, which npm has, in front of another target. @throws BenchError when it cannot be installed. */
export async function portkey(behind: Target, signal: AbortSignal): Promise<Target> {
  const script = await installed(signal);
  const port = await freePort();
  const loopback = new URL('loopback.js', import.meta.url).href;
  const args = ['--import', loopback, script, `--port=${port}`, '--headless'];
  const program = new Program(process.execPath, args, {
    cwd: path.dirname(script),
    env: { PATH: process.env.PATH ?? '', NODE_ENV: 'production' },
  });
  await untilListening(port, program, signal);
  return {
    ...behind,
    name: 'portkey',
    url: `http://127.0.0.1:${port}/v1/chat/completions`,
    headers: { ...behind.headers, ...forwardTo(behind.url) },
    pids: [program.pid!],
    stop: () => program.stop(),
  };
}

/** Tells it where requests go; it wants a key, whatever that is. */
const forwardTo = (url: string): Record<string, string> => ({
  authorization: 'Bearer none',
  'x-portkey-provider': 'openai',
  'x-portkey-custom-host': `${new URL(url).origin}/v1`,
});

/** Installs it once, into the cache: it is nothing LMServ depends on. */
async function installed(signal: AbortSignal): Promise<string> {
  const folder = path.join(benchCache(), `portkey-${VERSION}`);
  const script = path.join(folder, 'node_modules', PACKAGE, 'build/start-server.js');
  if (await exists(script)) return script;
  await mkdir(folder, { recursive: true });
  await writeFile(path.join(folder, 'package.json'), JSON.stringify(PACKAGES));
  const args = ['install', '--prefix', folder, '--ignore-scripts', '--no-audit', '--no-fund'];
  const result = await execa('npm', args, { cwd: folder, cancelSignal: signal, reject: false });
  signal.throwIfAborted();
  if (result.failed) throw new BenchError(`${PACKAGE} cannot be installed: ${lastLine(result.stderr)}`);
  return script;
}

const lastLine = (text: string): string => text.trim().split('\n').at(-1) ?? '';
