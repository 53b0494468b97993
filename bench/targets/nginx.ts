import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { findProgram } from '../../src/install/llama/programs.js';
import { BenchError } from '../errors.js';
import { treeOf } from '../proc.js';
import { Program } from '../program.js';
import { freePort, untilListening } from './free-port.js';
import type { Target } from './target.js';

/** Folders that often are not on a user's PATH. */
const SYSTEM_FOLDERS = ['/usr/sbin', '/usr/local/sbin'];

/** nginx as a plain reverse proxy in front of another target. @throws BenchError when it is not installed. */
export async function nginx(behind: Target, signal: AbortSignal): Promise<Target> {
  const searched = [process.env.PATH ?? '', ...SYSTEM_FOLDERS].join(path.delimiter);
  const file = await findProgram('nginx', { PATH: searched });
  if (file === undefined)
    throw new BenchError('nginx is not installed; on Debian: apt-get install nginx-light');
  const folder = await mkdtemp(path.join(tmpdir(), 'lmserv-bench-'));
  const port = await freePort();
  const { origin, pathname } = new URL(behind.url);
  await writeFile(path.join(folder, 'nginx.conf'), configuration(port, origin));
  const args = ['-p', folder, '-c', 'nginx.conf', '-e', 'stderr'];
  const program = new Program(file, args, { cwd: folder, env: { PATH: searched } });
  const stop = async () => {
    await program.stop();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    await untilListening(port, program, signal);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    ...behind,
    name: 'nginx',
    url: `http://127.0.0.1:${port}${pathname}`,
    pids: treeOf(program.pid!),
    stop,
  };
}

/** One process that passes on each byte as it comes and keeps no log. */
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
