import { checkEnvFile, checkKey, checkKeysFile } from './checks/keys.js';
import { checkDataFolder, checkOpenFiles, checkPort, checkThreads } from './checks/machine.js';
import { checkGpuMemory, checkMemory, checkMemoryLimit, checkModel } from './checks/model.js';
import {
  checkBinary,
  checkConfiguration,
  checkGpu,
  checkLlamaConfig,
  checkNode,
  checkSetpriv,
} from './checks/software.js';
import type { Facts } from './facts.js';
import type { Finding } from './finding.js';

export interface Row {
  /** What is checked. */
  readonly name: string;
  readonly check: (facts: Facts) => Finding | readonly Finding[] | Promise<Finding | readonly Finding[]>;
  /** It asks for the server's settings, so it is left out where they cannot be read. */
  readonly needsSettings?: true;
}

const needsSettings = true;

/** All checks, in the order they are shown. A new one is a row here and a test. */
export const CHECKS: readonly Row[] = [
  { name: 'Node', check: (facts) => checkNode(facts) },
  { name: 'configuration', check: checkConfiguration },
  { name: 'binary', check: checkBinary, needsSettings },
  { name: 'llama.cpp settings', check: checkLlamaConfig },
  { name: 'GPU', check: checkGpu, needsSettings },
  { name: 'model', check: checkModel, needsSettings },
  { name: 'memory', check: checkMemory, needsSettings },
  { name: 'GPU memory', check: checkGpuMemory, needsSettings },
  { name: 'memory limit', check: checkMemoryLimit, needsSettings },
  { name: 'data folder', check: checkDataFolder, needsSettings },
  { name: 'port', check: checkPort, needsSettings },
  { name: 'key', check: checkKey, needsSettings },
  { name: 'key file', check: checkKeysFile, needsSettings },
  { name: '.env', check: checkEnvFile },
  { name: 'setpriv', check: checkSetpriv },
  { name: 'open files', check: checkOpenFiles },
  { name: 'threads', check: checkThreads, needsSettings },
];
