/** Shared by the configuration file's tests: files in a folder of their own. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseConfigFile } from '../../../../src/config/file/load.js';
import type { ConfigFile } from '../../../../src/config/file/schema.js';

export interface Folder {
  readonly path: string;
  /** The configuration file's place in it. */
  readonly file: string;
  /** Writes the configuration file. */
  write(content: unknown): void;
  remove(): void;
}

/** A folder with a file `m.gguf` for models to name. */
export function temporaryFolder(): Folder {
  const path = mkdtempSync(join(tmpdir(), 'lmserv-config-'));
  const file = join(path, 'lmserv.config.json');
  writeFileSync(join(path, 'm.gguf'), '');
  return {
    path,
    file,
    write: (content) => writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content)),
    remove: () => rmSync(path, { recursive: true, force: true }),
  };
}

/** Reads a configuration whose models need no file. */
export const parse = (content: unknown): ConfigFile =>
  parseConfigFile(JSON.stringify(content), '/etc/lmserv.config.json');

export const local = (more: object = {}) => ({ path: 'hf:org/repo', ...more });
export const remote = (more: object = {}) => ({ baseUrl: 'http://box:8000', model: 'm', ...more });
