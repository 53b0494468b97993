import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readSettings } from '../../../src/doctor/settings.js';
import { emptyFolder } from '../../support/folder.js';

const folder = emptyFolder();
const write = (name: string, text: string) => writeFileSync(join(folder, name), text);

test('settings are read as the server reads them, including .env', () => {
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

test('every wrong value is reported and the rest is read', () => {
  const wrong = { PORT: 'http', LLM_WORKERS: '0', HOST: '0.0.0.0', LLM_MODEL_PATH: 'none.gguf' };
  const { problems, server } = readSettings({ ...wrong, LLM_SLOTS: '2' }, folder);
  expect(problems.map((problem) => problem.split(':')[0])).toEqual(Object.keys(wrong));
  const models = [{ path: join(folder, 'none.gguf'), slots: 2 }];
  expect(server).toMatchObject({ host: '127.0.0.1', models });
});

test('invalid profiles are left out', () => {
  const { problems, server } = readSettings({ LLM_CONNECT_PROFILES_JSON: '{' }, folder);
  expect(problems).toEqual(['LLM_CONNECT_PROFILES_JSON: is not valid JSON']);
  expect(server).toBeDefined();
});

test('models, binaries and threads come from the configuration file', () => {
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

test.each([
  ['no name', {}, ['a']],
  ['the name of a model', { default: 'b' }, ['b']],
  ['the alias of a model', { default: 'other' }, ['b']],
  ['the alias of a group with a fallback', { default: 'all' }, ['c', 'b']],
])('the default, pinned and preloaded models are loaded at the start: %s', (_, change, expected) => {
  write('m.gguf', '');
  const model = { path: 'm.gguf' };
  const models = {
    a: model,
    b: { ...model, aliases: ['other'] },
    c: model,
    p: { ...model, pin: true },
    q: { ...model, preload: true },
  };
  const groups = {
    g: { members: ['c'], fallback: ['h'], aliases: ['all'] },
    h: { members: ['b'] },
  };
  write('lmserv.config.json', JSON.stringify({ models, groups, ...change }));
  const loaded = readSettings({}, folder).server!.models.filter(({ isLoadedAtStart }) => isLoadedAtStart);
  expect(loaded.map(({ id }) => id).sort()).toEqual([...expected, 'p', 'q'].sort());
});

test.each([
  ['is missing', { LMSERV_CONFIG: 'none.json' }, 'LMSERV_CONFIG: there is no file none.json'],
  ['is damaged', { LMSERV_CONFIG: 'bad.json' }, 'bad.json: is not valid JSON'],
])('there are no settings when the configuration file %s', (_, env, problem) => {
  write('bad.json', 'no');
  const { problems, server } = readSettings(env, folder);
  expect(problems).toEqual([expect.stringContaining(problem)]);
  expect(server).toBeUndefined();
});
