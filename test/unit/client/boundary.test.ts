/** The client library must work in a browser bundle: nothing of Node, nothing of the server, no package at all. */

import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const SRC = resolve(dirname(fileURLToPath(import.meta.url)), '../../../src');
const ALLOWED = /^(client|wire)\/|^contract\.ts$/;

/** What a source file imports or re-exports, in every form TypeScript has. */
function importsOf(file: string): string[] {
  const source = readFileSync(join(SRC, file), 'utf8');
  const forms = /(?:\bfrom\s*|\bimport\s*\(?\s*|\brequire\s*\(\s*)['"]([^'"]+)['"]/g;
  return [...source.matchAll(forms)].map((match) => match[1]!);
}

/** All files reachable from these, and every import that leaves them. */
function walk(files: readonly string[]): { reached: Set<string>; bare: string[] } {
  const reached = new Set<string>();
  const bare: string[] = [];
  const queue = [...files];
  for (let file = queue.pop(); file !== undefined; file = queue.pop()) {
    if (reached.has(file)) continue;
    reached.add(file);
    for (const name of importsOf(file)) {
      if (!name.startsWith('.')) bare.push(`${file}: ${name}`);
      else queue.push(relative(SRC, resolve(SRC, dirname(file), name)).replace(/\.js$/, '.ts'));
    }
  }
  return { reached, bare };
}

const sources = readdirSync(join(SRC, 'client')).map((name) => `client/${name}`);

test('all of client imports client, wire and contract alone', () => {
  const { reached, bare } = walk(sources);
  expect(bare).toEqual([]);
  expect([...reached].filter((file) => !ALLOWED.test(file))).toEqual([]);
  expect(reached).toContain('wire/sse.ts');
});

test('the terminal command is no part of a bundle', () => {
  expect([...walk(['client/index.ts']).reached].filter((file) => file.includes('ask'))).toEqual([]);
});

test('the import finder sees every form', () => {
  expect(importsOf('client/index.ts')).toEqual(['./client.js', './errors.js', './errors.js', './types.js']);
});
