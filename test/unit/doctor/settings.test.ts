import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readSettings } from '../../../src/doctor/settings.js';

let folder: string;
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'doctor-'))));
afterEach(() => rmSync(folder, { recursive: true }));

const write = (name: string, text: string) => writeFileSync(join(folder, name), text);

it('reads the settings as the server does, .env included', () => {
  write('.env', 'API_KEY=a-key-from-the-file\nPORT=1234\nOPENAI_API_KEY=sk-another-secret\nHF_TOKEN=\n');
  write('m.gguf', '');
  const settings = readSettings(
    { LLM_MODEL_PATH: 'm.gguf', LLM_WORKERS: '3', DATA_DIR: 'd', HF_TOKEN: 'hf_secret' },
    folder,
  );
  expect(settings.problems).toEqual([]);
  expect(settings.server).toMatchObject({
    port: 1234,
    host: '0.0.0.0',
    dataDir: join(folder, 'd'),
    models: [{ id: 'm', path: join(folder, 'm.gguf'), workers: 3, context: 4096 }],
  });
  expect(settings.envFileSecrets).toEqual(['API_KEY', 'OPENAI_API_KEY']);
  expect([...settings.secrets].sort()).toEqual(['a-key-from-the-file', 'hf_secret', 'sk-another-secret']);
});

it('notes every wrong value and goes on with the rest', () => {
  const env = {
    PORT: 'http',
    LLM_WORKERS: '0',
    HOST: '0.0.0.0',
    LLM_MODEL_PATH: 'none.gguf',
    LLM_SLOTS: '2',
  };
  const { problems, server } = readSettings(env, folder);
  expect(problems.map((problem) => problem.split(':')[0])).toEqual([
    'PORT',
    'LLM_WORKERS',
    'HOST',
    'LLM_MODEL_PATH',
  ]);
  expect(server).toMatchObject({
    host: '127.0.0.1',
    models: [{ path: join(folder, 'none.gguf'), slots: 2 }],
  });
});

it('goes on without profiles where they are wrong', () => {
  const { problems, server } = readSettings({ LLM_CONNECT_PROFILES_JSON: '{' }, folder);
  expect(problems).toEqual(['LLM_CONNECT_PROFILES_JSON: is not valid JSON']);
  expect(server).toBeDefined();
});

it('takes models, binaries and threads from the configuration file', () => {
  write('m.gguf', '');
  write('llama', '');
  const models = {
    big: { path: 'm.gguf', binPath: 'llama', workers: 2, context: 512, threads: 7 },
    small: { path: 'm.gguf' },
  };
  write('lmserv.config.json', JSON.stringify({ models }));
  const { problems, server } = readSettings({ LLM_BIN_PATH: '/usr/bin/llama' }, folder);
  expect(problems).toEqual([]);
  expect(server!.models).toMatchObject([
    { id: 'big', binPath: join(folder, 'llama'), workers: 2, context: 512, threads: 7 },
    { id: 'small', binPath: '/usr/bin/llama', workers: 1, threads: expect.any(Number) },
  ]);
});

it.each([
  ['is missing', { LMSERV_CONFIG: 'none.json' }, 'LMSERV_CONFIG: there is no file none.json'],
  ['is damaged', { LMSERV_CONFIG: 'bad.json' }, 'bad.json: is not valid JSON'],
])('gives no settings where the configuration file %s', (_how, env, problem) => {
  write('bad.json', 'no');
  const { problems, server } = readSettings(env, folder);
  expect(problems).toEqual([expect.stringContaining(problem)]);
  expect(server).toBeUndefined();
});
