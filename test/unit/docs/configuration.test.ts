import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { VARIABLES } from '../../../src/config/config.js';
import { ERRORS } from '../../../src/errors.js';
import { PROFILE_VARIABLES } from '../../../src/dialects/llm-connect/profiles/load.js';
import { ROOT } from '../../../src/config/root.js';

const read = (file: string) => readFileSync(join(ROOT, file), 'utf8');

/** Read by the client library, where the client runs. */
const CLIENT = [
  ...['LLM_PROVIDER', 'LLM_BASE_URL', 'LLM_URL', 'LLM_API_KEY', 'LLM_MODEL'],
  ...['LLM_TIMEOUT_SECS', 'LLM_PROVIDER_FALLBACK', 'OPENAI_API_KEY'],
];

const inCode = [...Object.keys(VARIABLES), ...PROFILE_VARIABLES, ...CLIENT].sort();

test('.env.example has each variable of the code, once, and no other', () => {
  const names = [...read('.env.example').matchAll(/^# ([A-Z_]+)=/gm)].map((match) => match[1]!);
  expect(names.sort()).toEqual(inCode);
});

test('docs/configuration.md has a row for each variable of the code', () => {
  const [settings] = read('docs/configuration.md').split('## Read by the scripts');
  const names = [...settings!.matchAll(/^\| ([A-Z_]+) \|/gm)].map((match) => match[1]!);
  expect(names.sort()).toEqual(inCode);
});

test('the client library reads those that are said to be its own', () => {
  const source = ['client/env', 'commands/ask/env', 'client/plan', 'client/target', 'client/client']
    .map((name) => read(`src/${name}.ts`))
    .join('');
  for (const name of CLIENT) expect(source).toContain(name);
});

test('docs/api-chat.md lists each error code under its status', () => {
  const rows = [...read('docs/api-chat.md').matchAll(/^\| (\d{3}) \| ([a-z_, ]+) \|/gm)];
  const documented = rows.flatMap(([, status, codes]) =>
    codes!.split(', ').map((code) => `${status} ${code}`),
  );
  const defined = Object.entries(ERRORS).map(([code, { status }]) => `${status} ${code}`);
  expect(documented.sort()).toEqual(defined.sort());
});

test('each page that the README names exists', () => {
  const links = [...read('README.md').matchAll(/\]\(([^)#]+)\)/g)].map((match) => match[1]!);
  expect(links.length).toBeGreaterThan(10);
  for (const link of links) expect(() => read(link)).not.toThrow();
});
