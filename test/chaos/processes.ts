/** What /proc tells of processes. Linux alone has it. */
import { readdirSync, readFileSync } from 'node:fs';

/** Anonymous memory in use, MiB: what a leak makes grow. undefined when the process is gone. */
export function anonymousMiB(pid: number): number | undefined {
  const kib = /^RssAnon:\s+(\d+) kB/m.exec(read(`/proc/${pid}/status`))?.[1];
  return kib === undefined ? undefined : Number(kib) / 1024;
}

/** Memory that is resident now, and the most that ever was, MiB. undefined when the process is gone. */
export function residentMiB(pid: number): { readonly now: number; readonly peak: number } | undefined {
  const status = read(`/proc/${pid}/status`);
  const mib = (field: string) => Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) / 1024;
  return status.includes('\nVmHWM:') ? { now: mib('VmRSS'), peak: mib('VmHWM') } : undefined;
}

/** Open file descriptors. */
export function descriptors(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

/** Dead children of a process that it has not been told about. */
export function zombiesOf(parent: number): number {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => stat(Number(name)))
    .filter((found) => found?.state === 'Z' && found.parent === parent).length;
}

/** Those of the processes that still run llama.cpp; a number that went to another program is not one of them. */
export function stillLlama(pids: readonly number[]): number[] {
  return pids.filter((pid) => {
    const found = stat(pid);
    return found !== undefined && found.state !== 'Z' && found.name.startsWith('llama-');
  });
}

interface Stat {
  readonly name: string;
  /** One letter: R, S, Z … */
  readonly state: string;
  readonly parent: number;
}

function stat(pid: number): Stat | undefined {
  const text = read(`/proc/${pid}/stat`);
  if (text === '') return undefined;
  const end = text.lastIndexOf(')');
  const [state = '', parent] = text.slice(end + 2).split(' ');
  return { name: text.slice(text.indexOf('(') + 1, end), state, parent: Number(parent) };
}

/** Empty when the process is gone. */
function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
