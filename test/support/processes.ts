import { readdirSync, readFileSync } from 'node:fs';

/** What the kernel knows of processes: /proc, so Linux alone. */

interface Status {
  readonly pid: number;
  /** One letter: R running, S sleeping, T stopped, Z zombie. */
  readonly state: string;
  readonly parent: number;
  readonly group: number;
}

/** The processes that a process has started, zombies among them. */
export function childrenOf(parent: number): Status[] {
  return all().filter((status) => status.parent === parent);
}

/** The processes of a group that have not ended. */
export function membersOf(group: number): Status[] {
  return all().filter((status) => status.group === group && status.state !== 'Z');
}

function all(): Status[] {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids.flatMap((name) => statusOf(Number(name)) ?? []);
}

function statusOf(pid: number): Status | undefined {
  try {
    // The name of the program comes before it in brackets and may hold anything.
    const [state, parent, group] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)!.split(' ');
    return { pid, state: state!, parent: Number(parent), group: Number(group) };
  } catch {
    // It has ended meanwhile.
    return undefined;
  }
}

/** How many descriptors a process has open. */
export function descriptorsOf(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

/** Bytes that the kernel holds for the connections to a port of this machine's, on their way in either direction. */
export function bytesInKernel(port: number): number {
  const address = new RegExp(`:${port.toString(16).toUpperCase().padStart(4, '0')}$`);
  const rows = readFileSync('/proc/net/tcp', 'utf8').split('\n').slice(1);
  return rows
    .map((row) => row.trim().split(/\s+/))
    .filter(([, local = '', remote = '']) => address.test(local) || address.test(remote))
    .flatMap(([, , , , queues]) => queues!.split(':'))
    .reduce((sum, queue) => sum + parseInt(queue, 16), 0);
}
