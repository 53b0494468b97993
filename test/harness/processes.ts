/** What the kernel tells about processes: /proc, so Linux only. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

interface Stat {
  readonly pid: number;
  /** Of the program, cut by the kernel after 15 characters. */
  readonly name: string;
  /** One letter: R running, S sleeping, T stopped, Z zombie. */
  readonly state: string;
  readonly parent: number;
  readonly group: number;
  /** Processor time so far, including that of its threads but not of ended children; milliseconds in steps of 10. */
  readonly cpuMs: number;
}

/** The kernel counts processor time in hundredths of a second, on all platforms. */
const TICK_MS = 10;

/** Reads the text of /proc/PID/stat. The program's name is in brackets and may contain anything. */
export function parseStat(text: string): Stat {
  const end = text.lastIndexOf(')');
  const fields = text.slice(end + 2).split(' ');
  return {
    pid: parseInt(text),
    name: text.slice(text.indexOf('(') + 1, end),
    state: fields[0]!,
    parent: Number(fields[1]),
    group: Number(fields[2]),
    cpuMs: (Number(fields[11]) + Number(fields[12])) * TICK_MS,
  };
}

/** undefined if the process is gone. */
function statOf(pid: number): Stat | undefined {
  const text = read(`/proc/${pid}/stat`);
  return text === '' ? undefined : parseStat(text);
}

function allProcesses(): Stat[] {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids.flatMap((name) => statOf(Number(name)) ?? []);
}

export function isAlive(pid: number): boolean {
  return statOf(pid) !== undefined;
}

/** The processes that a process has started, including zombies. */
export function childrenOf(parent: number): Stat[] {
  return allProcesses().filter((process) => process.parent === parent);
}

/** A process and all that descend from it. */
export function treeOf(pid: number): number[] {
  return [pid, ...childrenOf(pid).flatMap((child) => treeOf(child.pid))];
}

/** The processes of a group that have not ended. */
export function membersOf(group: number): Stat[] {
  return allProcesses().filter((process) => process.group === group && process.state !== 'Z');
}

/** Those of the processes that still run llama.cpp: a process id may have been reused by another program. */
export function stillLlama(pids: readonly number[]): number[] {
  return pids.filter((pid) => {
    const found = statOf(pid);
    return found !== undefined && found.state !== 'Z' && found.name.startsWith('llama-');
  });
}

/** Processor time of processes so far, milliseconds. NaN if one is gone. */
export function cpuMs(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + (statOf(pid)?.cpuMs ?? NaN), 0);
}

/**
 * Memory of a process, MiB; NaN if it is gone. RssAnon belongs to no file, VmRSS is all that is resident, VmHWM its max
 * so far; in Pss, each page counts in equal parts for the processes that share it.
 */
export function memoryMib(pid: number, field: 'RssAnon' | 'VmRSS' | 'VmHWM' | 'Pss'): number {
  return parseMib(read(`/proc/${pid}/${field === 'Pss' ? 'smaps_rollup' : 'status'}`), field);
}

/** A line `NAME:   123 kB`; NaN if there is none. */
export function parseMib(text: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s*(\\d+) kB`, 'm').exec(text)?.[1] ?? NaN) / 1024;
}

/** How many descriptors a process has open. */
export function descriptorsOf(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

/** The TCP port that a process listens on over IPv4; undefined if it listens on none. */
export function listeningPort(pid: number): number | undefined {
  const sockets = new Set(
    readdirSync(`/proc/${pid}/fd`).flatMap(
      (descriptor) => /^socket:\[(\d+)\]$/.exec(readLink(`/proc/${pid}/fd/${descriptor}`))?.[1] ?? [],
    ),
  );
  return parseListening(read(`/proc/${pid}/net/tcp`)).find(({ inode }) => sockets.has(inode))?.port;
}

/** State of a listening socket in /proc/net/tcp. */
const LISTEN = '0A';

/** Listening sockets in a text of the form of /proc/net/tcp. */
export function parseListening(text: string): { port: number; inode: string }[] {
  return rowsOf(text)
    .filter((row) => row[3] === LISTEN)
    .map((row) => ({ port: parseInt(row[1]!.split(':')[1]!, 16), inode: row[9]! }));
}

/** Bytes that the kernel holds for the connections to a port of this machine, in both directions. */
export function bytesInKernel(port: number): number {
  const address = new RegExp(`:${port.toString(16).toUpperCase().padStart(4, '0')}$`);
  return rowsOf(read('/proc/net/tcp'))
    .filter(([, local = '', remote = '']) => address.test(local) || address.test(remote))
    .flatMap(([, , , , queues]) => queues!.split(':'))
    .reduce((sum, queue) => sum + parseInt(queue, 16), 0);
}

const rowsOf = (text: string): string[][] =>
  text
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/));

/** Empty if the process is gone. */
function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

/** A descriptor may be closed while the list of them is read. */
function readLink(file: string): string {
  try {
    return readlinkSync(file);
  } catch {
    return '';
  }
}
