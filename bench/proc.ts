/** What Linux tells of processes. All of it comes from /proc. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** Clock ticks in a second: the kernel's unit for processor time is the same on all its platforms. */
const TICKS = 100;

/** Processor time of processes so far, their threads included, ended ones not. Milliseconds, in steps of 10. */
export function cpuMs(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + parseCpuMs(read(`/proc/${pid}/stat`)), 0);
}

/** From the text of /proc/PID/stat. The program's name is in brackets and may hold anything. */
export function parseCpuMs(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / TICKS;
}

/** Memory of processes that belongs to no file, MiB. */
export function anonymousMib(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + parseMib(read(`/proc/${pid}/status`), 'RssAnon'), 0);
}

/** Memory of processes where each shared page counts in equal parts for all that share it, MiB. */
export function proportionalMib(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + parseMib(read(`/proc/${pid}/smaps_rollup`), 'Pss'), 0);
}

/** A line `NAME:   123 kB`; NaN when there is none. */
export function parseMib(text: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s*(\\d+) kB`, 'm').exec(text)?.[1] ?? NaN) / 1024;
}

/** A process and all that come from it. */
export function treeOf(pid: number): number[] {
  const children = threadsOf(pid).flatMap((thread) =>
    read(`/proc/${pid}/task/${thread}/children`).split(' ').filter(Boolean).map(Number),
  );
  return [pid, ...children.flatMap(treeOf)];
}

const threadsOf = (pid: number): string[] => readdirSync(`/proc/${pid}/task`);

/** The TCP port that a process listens on over IPv4; undefined when it listens on none. */
export function listeningPort(pid: number): number | undefined {
  const sockets = new Set(
    readdirSync(`/proc/${pid}/fd`).flatMap(
      (descriptor) => /^socket:\[(\d+)\]$/.exec(link(`/proc/${pid}/fd/${descriptor}`))?.[1] ?? [],
    ),
  );
  return parseListening(read(`/proc/${pid}/net/tcp`)).find(({ inode }) => sockets.has(inode))?.port;
}

/** State of a socket that listens, as /proc/net/tcp writes it. */
const LISTEN = '0A';

/** Listening sockets of a text in the form of /proc/net/tcp. */
export function parseListening(text: string): { port: number; inode: string }[] {
  const rows = text.split('\n').map((line) => line.trim().split(/\s+/));
  return rows
    .filter((row) => row[3] === LISTEN)
    .map((row) => ({ port: parseInt(row[1]!.split(':')[1]!, 16), inode: row[9]! }));
}

const read = (file: string): string => readFileSync(file, 'utf8');

/** A descriptor may be closed while the list of them is walked. */
function link(file: string): string {
  try {
    return readlinkSync(file);
  } catch {
    return '';
  }
}
