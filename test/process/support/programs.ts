import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';

/** Writes a shell script that can be run; its path. */
export function writeProgram(file: string, script: string): string {
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return file;
}

/** A shell script that answers --help and --version as llama.cpp's binaries do. */
const llama = (...help: string[]) => `case "$1" in
--version) echo 'version: 0.5.0-dev (build 1, commit de3ff81)' >&2 ;;
*) ${['----- common params -----', ...help].map((line) => `echo '${line}'`).join('; ')} ;;
esac`;

export const LLAMA_CLI = llama('--server-base URL                       connect to this server');
export const LLAMA_SERVER = llama('--host HOST     address', '--api-key KEY   key');
export const OLD_LLAMA_CLI = llama('-i, --interactive   run in interactive mode');
