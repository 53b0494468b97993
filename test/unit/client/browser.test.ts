/** The client library works in a browser: only web globals, nothing of Node or of the server, no packages. */

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import type * as ClientModule from '../../../src/client/index.js';
import { ROOT } from '../../../src/config/root.js';
import { deadUrl, delta, done, fakeServer, sse } from '../../support/fake-server.js';
import { collect } from './helpers.js';
import { runModule, webContext } from './load-module.js';

const SRC = join(ROOT, 'src');

async function loadInBrowser(): Promise<{ client: typeof ClientModule; logged: string[] }> {
  const logged: string[] = [];
  const console = { warn: (message: string) => void logged.push(message) };
  const client = await runModule(`export * from 'lmserv/client'`, webContext({ console }));
  return { client: client as typeof ClientModule, logged };
}

test('the client streams and reads no environment', async () => {
  const { client } = await loadInBrowser();
  const { url } = await fakeServer(sse(delta('Hello'), delta(' 🦙'), done));
  expect(await collect(client.createClient({ baseUrl: url }).stream('hi'))).toEqual(['Hello', ' 🦙']);
  expect((await client.generate('hi', { provider: 'stub' })).startsWith('[stub]')).toBe(true);
});

test('the client warns on the console when the fallback replies', async () => {
  const { client, logged } = await loadInBrowser();
  await client.createClient({ baseUrl: await deadUrl() }).generate('hi');
  expect(logged).toEqual([expect.stringMatching(/^lmserv\/client: lan failed .* stub replies instead$/)]);
});

test('errors have the exported types', async () => {
  const { client } = await loadInBrowser();
  const failed = client.createClient({ baseUrl: await deadUrl(), fallback: 'none' }).generate('hi');
  await expect(failed).rejects.toBeInstanceOf(client.ConnectionError);
});

/** What a source file imports or re-exports, in every form that TypeScript has. */
function importsOf(file: string): string[] {
  const source = readFileSync(join(SRC, file), 'utf8');
  const forms = /(?:\bfrom\s*|\bimport\s*\(?\s*|\brequire\s*\(\s*)['"]([^'"]+)['"]/g;
  return [...source.matchAll(forms)].map((match) => match[1]!);
}

/** The files that can be reached from these, and the imports that are not relative. */
function walk(files: readonly string[]): { reached: string[]; bare: string[] } {
  const reached = new Set(files);
  const bare: string[] = [];
  // Files that are added meanwhile are visited too.
  for (const file of reached) {
    for (const name of importsOf(file)) {
      if (!name.startsWith('.')) bare.push(`${file}: ${name}`);
      else reached.add(relative(SRC, resolve(SRC, dirname(file), name)).replace(/\.js$/, '.ts'));
    }
  }
  return { reached: [...reached], bare };
}

test('the client imports only client, wire and contract', () => {
  const { reached, bare } = walk(readdirSync(join(SRC, 'client')).map((name) => `client/${name}`));
  expect(bare).toEqual([]);
  expect(reached.filter((file) => !/^(client|wire)\/|^contract\.ts$/.test(file))).toEqual([]);
  expect(reached).toContain('wire/sse.ts');
});

test('a bundle does not contain the terminal command', () => {
  expect(walk(['client/index.ts']).reached.filter((file) => file.includes('ask'))).toEqual([]);
});

test('the import finder sees every form', () => {
  expect(importsOf('client/index.ts')).toEqual(['./client.js', './errors.js', './errors.js', './types.js']);
});
