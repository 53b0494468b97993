import type { ResolvedBinary } from '../../workers/binary.js';

/** What the checks may ask of the machine. Nothing here changes anything, and every answer comes within seconds. */
export interface Probe {
  /** Node's version, without a `v`. */
  readonly node: string;
  readonly platform: NodeJS.Platform;
  /** Cores this process may use. */
  readonly cores: number;
  readonly memory: MemoryFacts;
  /** A program's output, both streams; undefined when it is missing, fails or takes too long. */
  exec(file: string, args: readonly string[]): Promise<string | undefined>;
  /** Path of a program on PATH. */
  findProgram(name: string): Promise<string | undefined>;
  /** undefined when there is nothing of that name. */
  stat(path: string): Promise<PathFacts | undefined>;
  /** @throws the system's error */
  readText(path: string): Promise<string>;
  /** At most that many bytes of a file's beginning. @throws the system's error */
  readHead(path: string, bytes: number): Promise<Buffer>;
  /** Bytes that may still be written below a folder. @throws the system's error */
  freeBytes(folder: string): Promise<number>;
  /** Listens and stops again; the system's error code when it cannot. */
  tryListen(host: string, port: number): Promise<string | undefined>;
  /** The beginning of what a URL answers; undefined when nothing comes. */
  getText(url: string): Promise<string | undefined>;
  /** @throws BinaryError */
  resolveBinary(configured: string | undefined): Promise<ResolvedBinary>;
  /** Where a model of the hub's (`hf:org/repo:quant`) was downloaded to; undefined when it was not. @throws ModelError */
  findDownloaded(spec: string): Promise<string | undefined>;
}

/** Bytes. */
export interface MemoryFacts {
  readonly total: number;
  readonly free: number;
  /** Of the control group this runs in; undefined when there is none. */
  readonly limit: number | undefined;
}

export interface PathFacts {
  readonly kind: 'file' | 'folder' | 'other';
  /** Bytes. */
  readonly size: number;
  /** Permission bits. */
  readonly mode: number;
  readonly readable: boolean;
  readonly writable: boolean;
}
