import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { UserError } from '../../src/errors.js';
import { exists } from '../../src/install/files.js';
import { findProgram } from '../../src/install/llama/programs.js';
import { HttpServer } from '../../test/harness/http-server.js';
import { treeOf } from '../../test/harness/processes.js';
import { Program, type Command, type ProgramOptions } from '../../test/harness/program.js';
import { benchCache } from '../model/models.js';
import { NODE_ARGS } from '../server.js';
import type { Target } from './target.js';

/** Between two attempts to connect, milliseconds. */
const RETRY_MS = 50;

interface ProxyProgram extends ProgramOptions {
  readonly name: string;
  readonly command: Command;
}

/** Runs a server in front of another target. @throws UserError if it does not start, or the signal's reason. */
async function startProxy(
  behind: Target,
  { name, command, ...options }: ProxyProgram,
  port: number,
  signal: AbortSignal,
): Promise<Target> {
  const program = new Program(command, options);
  try {
    while (!(await listens(port))) {
      signal.throwIfAborted();
      if (program.exit) throw new UserError(`it ended before it listened:\n${program.tail}`);
      await sleep(RETRY_MS);
    }
  } catch (error) {
    await program.stop();
    throw error;
  }
  return {
    ...behind,
    name,
    url: `http://127.0.0.1:${port}${new URL(behind.url).pathname}`,
    pids: treeOf(program.pid),
    stop: () => program.stop(),
  };
}

/** A port of 127.0.0.1 that was free a moment ago, for programs that cannot choose one themselves. */
async function freePort(): Promise<number> {
  const server = await HttpServer.start(() => undefined);
  const { port } = server;
  await server.stop();
  return port;
}

async function listens(port: number): Promise<boolean> {
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

/** The least that Node needs to do what `/v1/chat/completions` does, in front of another target. */
export async function bare(behind: Target, signal: AbortSignal): Promise<Target> {
  const port = await freePort();
  const script = fileURLToPath(new URL('bare-server.js', import.meta.url));
  const command: Command = [process.execPath, ...NODE_ARGS, script, String(port), behind.url];
  return startProxy(behind, { name: 'bare', command, env: {}, cwd: process.cwd() }, port, signal);
}

/** Folders that are often not on a user's PATH. */
const SYSTEM_FOLDERS = ['/usr/sbin', '/usr/local/sbin'];

/** nginx as a plain reverse proxy in front of another target. @throws UserError if it is not installed. */
export async function nginx(behind: Target, signal: AbortSignal): Promise<Target> {
  const env = { PATH: [process.env.PATH ?? '', ...SYSTEM_FOLDERS].join(path.delimiter) };
  const file = await findProgram('nginx', env);
  if (file === undefined)
    throw new UserError('nginx is not installed; on Debian: apt-get install nginx-light');
  const cwd = await mkdtemp(path.join(tmpdir(), 'lmserv-bench-'));
  const remove = () => rm(cwd, { recursive: true, force: true });
  const port = await freePort();
  await writeFile(path.join(cwd, 'nginx.conf'), configuration(port, new URL(behind.url).origin));
  const command: Command = [file, '-p', cwd, '-c', 'nginx.conf', '-e', 'stderr'];
  try {
    const target = await startProxy(behind, { name: 'nginx', command, env, cwd }, port, signal);
    return { ...target, stop: () => target.stop().finally(remove) };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** One process that passes each byte on at once and keeps no log. */
const configuration = (port: number, upstream: string): string => `
daemon off;
pid nginx.pid;
worker_processes 1;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass ${upstream};
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 600s;
    }
  }
}
`;

const PACKAGE = '@portkey-ai/gateway';
const VERSION = '1.15.2';

/** With version 1.19 of its HTTP server it replies to every stream with a 500 (`immutable` headers). */
const PACKAGES = {
  private: true,
  dependencies: { [PACKAGE]: VERSION },
  overrides: { '@hono/node-server': '1.13.8' },
};

/** Portkey's gateway from npm in front of another target. @throws UserError if it cannot be installed. */
export async function portkey(behind: Target, signal: AbortSignal): Promise<Target> {
  const script = await installed(signal);
  const port = await freePort();
  const loopback = new URL('loopback.js', import.meta.url).href;
  const args = ['--import', loopback, script, `--port=${port}`, '--headless'];
  const env = { PATH: process.env.PATH, NODE_ENV: 'production' };
  const program = {
    name: 'portkey',
    command: [process.execPath, ...args] as const,
    env,
    cwd: path.dirname(script),
  };
  const target = await startProxy(behind, program, port, signal);
  return { ...target, headers: { ...behind.headers, ...forwardTo(behind.url) } };
}

/** Tells it where requests go; it wants a key, no matter which. */
const forwardTo = (url: string): Record<string, string> => ({
  authorization: 'Bearer none',
  'x-portkey-provider': 'openai',
  'x-portkey-custom-host': `${new URL(url).origin}/v1`,
});

/** Installs it once, into the cache: LMServ does not depend on it. */
async function installed(signal: AbortSignal): Promise<string> {
  const folder = path.join(benchCache(), `portkey-${VERSION}`);
  const script = path.join(folder, 'node_modules', PACKAGE, 'build/start-server.js');
  if (await exists(script)) return script;
  await mkdir(folder, { recursive: true });
  await writeFile(path.join(folder, 'package.json'), JSON.stringify(PACKAGES));
  const args = ['install', '--prefix', folder, '--ignore-scripts', '--no-audit', '--no-fund'];
  const result = await execa('npm', args, { cwd: folder, cancelSignal: signal, reject: false });
  signal.throwIfAborted();
  if (result.failed) throw new UserError(`${PACKAGE} cannot be installed: ${lastLine(result.stderr)}`);
  return script;
}

const lastLine = (text: string): string => text.trim().split('\n').at(-1) ?? '';
