import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { resolveBinary } from '../../../workers/binary.js';
import { runDoctor } from '../../../src/commands/doctor.js';
import type { Line } from '../../../src/doctor/findings.js';
import { CHECKS } from '../../../src/doctor/run.js';
import { ROOT } from '../../../src/config/root.js';
import { emptyFolder } from '../../support/folder.js';

const CANARY = 'canary-0123456789abcdef';
const DEMO_MODEL = join(ROOT, 'models/lmserv-demo.gguf');

const folder = emptyFolder();
const tools = emptyFolder();

function script(name: string, lines: string): string {
  const file = join(tools, name);
  writeFileSync(file, `#!/bin/sh\n${lines}\n`, { mode: 0o755 });
  return file;
}

/** Understands only as much of llama-cli's command line as is needed to identify it. */
const standIn = (): string =>
  script('stand-in', 'case $1 in --help) echo "--server-base URL";; --version) echo "version: 9.9";; esac');

/** Passes everything on to the binary and notes its arguments. */
const noting = (file: string): string =>
  script('llama-cli', `echo "$@" >> '${tools}/calls'\nexec '${file}' "$@"`);

/** The real binary, if there is one. */
async function binary(): Promise<string> {
  const { LLM_BIN_PATH: configured, PATH: searchPath } = process.env;
  const found = await resolveBinary({ configured, searchPath, root: ROOT, env: process.env }).catch(
    () => undefined,
  );
  return found?.path ?? standIn();
}

async function doctor(env: NodeJS.ProcessEnv): Promise<{ code: number; text: string; lines: Line[] }> {
  let text = '';
  const out = (piece: string) => (text += piece);
  const all = { PATH: process.env.PATH, HOST: '127.0.0.1', PORT: '0', API_KEY: CANARY, ...env };
  const code = await runDoctor({ json: true, env: all, folder }, out);
  return { code, text, lines: (JSON.parse(text) as { checks: Line[] }).checks };
}

test('the doctor finds nothing wrong with the demo model and the binary, changes nothing and starts no worker', async () => {
  const file = noting(await binary());
  const before = readdirSync(folder);
  const { code, lines } = await doctor({ LLM_BIN_PATH: file, LLM_MODEL_PATH: DEMO_MODEL });
  expect(new Set(lines.map(({ check }) => check))).toEqual(new Set(CHECKS.map(({ name }) => name)));
  expect(lines.filter(({ level }) => level === 'fail')).toEqual([]);
  expect(code).toBe(0);
  const found = (name: string) => lines.find(({ check }) => check === name)!.found;
  expect(found('binary')).toContain(file);
  expect(found('model')).toMatch(/llama, \d.* MB, trained with \d+ tokens: .*lmserv-demo\.gguf$/);
  expect(found('memory')).toMatch(/about \d.* are needed/);
  expect(readdirSync(folder)).toEqual(before);
  const calls = readFileSync(join(tools, 'calls'), 'utf8').trim().split('\n');
  expect(calls.sort()).toEqual(['--help', '--list-devices', '--version']);
});

test('the doctor fails with a line for each problem', async () => {
  writeFileSync(join(folder, 'keys.json'), 'no');
  const env = {
    LLM_BIN_PATH: '/no/such/binary',
    LLM_MODEL_PATH: '/no/such.gguf',
    API_KEYS_FILE: 'keys.json',
  };
  const { code, lines } = await doctor(env);
  expect(code).toBe(1);
  const failed = lines.filter(({ level }) => level === 'fail').map(({ check }) => check);
  expect(failed).toEqual(['configuration', 'binary', 'model', 'key file']);
});

test('the doctor shows no key, wherever one appears', async () => {
  writeFileSync(join(folder, '.env'), `OPENAI_API_KEY=${CANARY}-2\n`, { mode: 0o644 });
  const misplaced = { LLM_MODEL_PATH: CANARY, HOST: CANARY, DATA_DIR: `${CANARY}-2`, LLM_BIN_PATH: CANARY };
  const { text, lines } = await doctor({ ...misplaced, HF_TOKEN: `${CANARY}-3` });
  expect(text).not.toContain('canary');
  expect(text).toContain('[hidden]');
  expect(lines).toContainEqual(expect.objectContaining({ check: '.env', level: 'warn' }));
});

test('the doctor prints readable lines by default', async () => {
  let text = '';
  const env = { PATH: process.env.PATH, PORT: 'x' };
  const code = await runDoctor({ env, folder }, (piece) => (text += piece));
  expect(code).toBe(1);
  expect(text).toMatch(/^ok {4}Node – /);
  expect(text).toMatch(/^fail {2}configuration – PORT: must be a whole number from 0 to 65535 – correct it/m);
});
