import { cpus, loadavg, totalmem } from 'node:os';
import { outputOf } from '../src/install/llama/programs.js';

/** Where figures were obtained: without it they say little. */
export interface Machine {
  readonly processor: string;
  readonly cores: number;
  readonly memoryGib: number;
  readonly node: string;
  /** What LMServ's checkout was at, `-dirty` with changes that are not committed. */
  readonly commit: string | undefined;
  /** Processes that wanted to run in the minute before the benchmark: more than 0.5 says that the machine was busy. */
  readonly loadBefore: number;
}

export async function describeMachine(root: string): Promise<Machine> {
  const loadBefore = loadavg()[0]!;
  const processors = cpus();
  return {
    processor: processors[0]?.model.trim() ?? 'unknown',
    cores: processors.length,
    memoryGib: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    commit: await outputOf('git', ['-C', root, 'describe', '--always', '--dirty'], process.env),
    loadBefore: Math.round(loadBefore * 100) / 100,
  };
}
