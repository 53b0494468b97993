/** The probe of the machine this runs on. */
import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access, open, stat } from 'node:fs/promises';
import { get } from 'node:http';
import { createServer } from 'node:net';
import { availableParallelism, totalmem } from 'node:os';
import { join } from 'node:path';
import { freeBytes } from '../install/files.js';
import { findDownloaded } from '../install/models/record.js';
import { parseModelSpec, specKey } from '../install/models/spec.js';
import { findProgram } from '../install/llama/programs.js';
import { resolveBinary } from '../../workers/binary.js';
import { readText } from '../files/read-text.js';
import { ROOT } from '../config/root.js';
import type { MemoryFacts, PathFacts, Probe } from './probe.js';

/** nvidia-smi takes seconds where the driver has to wake up. Milliseconds. */
const EXEC_TIMEOUT_MS = 8_000;
const EXEC_OUTPUT = 256 * 1024;
const GET_TIMEOUT_MS = 1_500;
const GET_BYTES = 256;

/** What of the environment the programs asked here get. */
const PASSED_ON = /^(PATH|HOME|LD_LIBRARY_PATH|DYLD_\w+|CUDA_\w+|NVIDIA_\w+)$/;

/** @param env the environment to search for programs and to hand to them, filtered */
export function systemProbe(env: NodeJS.ProcessEnv): Probe {
  const passed = Object.fromEntries(Object.entries(env).filter(([name]) => PASSED_ON.test(name)));
  return {
    node: process.versions.node,
    platform: process.platform,
    cores: availableParallelism(),
    memory: memoryFacts(),
    exec: (file, args) => exec(file, args, passed),
    findProgram: (name) => findProgram(name, env),
    stat: statPath,
    readText: async (path) => (await readText(path)).text,
    readHead,
    freeBytes,
    tryListen,
    getText,
    resolveBinary: (configured) => resolveBinary({ configured, root: ROOT, searchPath: env.PATH, env }),
    findDownloaded: (spec) => findDownloaded(join(ROOT, 'models'), specKey(parseModelSpec(spec))),
  };
}

function memoryFacts(): MemoryFacts {
  const total = totalmem();
  const limit = process.constrainedMemory();
  // Without a limit the system gives 0 or a number beyond all memory.
  return { total, free: process.availableMemory(), limit: limit > 0 && limit < total ? limit : undefined };
}

function exec(file: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<string | undefined> {
  const options = { env, timeout: EXEC_TIMEOUT_MS, killSignal: 'SIGKILL', maxBuffer: EXEC_OUTPUT } as const;
  return new Promise((resolve) => {
    const child = execFile(file, args, options, (error, stdout, stderr) =>
      resolve(error ? undefined : `${stdout}\n${stderr}`),
    );
    child.stdin?.on('error', () => undefined).end();
  });
}

async function statPath(path: string): Promise<PathFacts | undefined> {
  const entry = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw error;
  });
  if (!entry) return undefined;
  return {
    kind: entry.isFile() ? 'file' : entry.isDirectory() ? 'folder' : 'other',
    size: entry.size,
    mode: entry.mode & 0o777,
    readable: await allows(path, constants.R_OK),
    writable: await allows(path, constants.W_OK),
  };
}

const allows = (path: string, mode: number): Promise<boolean> =>
  access(path, mode).then(
    () => true,
    () => false,
  );

async function readHead(path: string, bytes: number): Promise<Buffer> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const buffer = Buffer.alloc(Math.min(bytes, (await handle.stat()).size));
    let filled = 0;
    while (filled < buffer.length) {
      const { bytesRead } = await handle.read(buffer, filled, buffer.length - filled, filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return buffer.subarray(0, filled);
  } finally {
    await handle.close();
  }
}

function tryListen(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ host, port }, () => server.close(() => resolve(undefined)));
  });
}

function getText(url: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const request = get(url, { agent: false, signal: AbortSignal.timeout(GET_TIMEOUT_MS) }, (response) => {
      let text = '';
      const finish = () => {
        resolve(text);
        request.destroy();
      };
      response.setEncoding('latin1').on('data', (piece: string) => {
        text += piece;
        if (text.length >= GET_BYTES) finish();
      });
      response.on('end', finish).on('error', () => resolve(undefined));
    });
    request.on('error', () => resolve(undefined));
  });
}
