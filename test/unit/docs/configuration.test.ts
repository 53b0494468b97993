import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CLIENT_VARIABLES, generateDocuments } from '../../../src/config/documents.js';
import { ERRORS } from '../../../src/errors.js';
import { ROOT } from '../../../src/config/root.js';
import { SECTIONS, type Row } from '../../../src/config/variables.js';

const read = (file: string) => readFileSync(join(ROOT, file), 'utf8');

test.each(Object.entries(generateDocuments(read)))('%s is what `npm run generate` writes', (path, text) => {
  if (read(path) !== text)
    throw new Error(`${path} is out of date: run npm run generate and commit the result`);
});

test('every variable has a description', () => {
  const rows = Object.values(SECTIONS).flatMap((section) => Object.entries<Row>(section));
  const silent = rows.filter(([, { doc }]) => !doc).map(([name]) => name);
  expect(silent.filter((name) => !name.startsWith('LLM_CONNECT_CUSTODIAN_TRIAGE_'))).toEqual([]);
});

test('the client library reads the variables documented as its own', () => {
  const files = ['client/target', 'client/client', 'commands/ask'];
  const source = files.map((name) => read(`src/${name}.ts`)).join('');
  for (const name of Object.keys(CLIENT_VARIABLES)) expect(source).toContain(name);
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
