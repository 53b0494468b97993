import { existsSync, readFileSync } from 'node:fs';

const PAGES = ['compatibility', 'api-responses', 'api-anthropic', 'api-ollama', 'api-embeddings'];

const rows = PAGES.map((page) => `docs/${page}.md`)
  .flatMap((page) => readFileSync(page, 'utf8').split('\n'))
  .filter((line) => /\| (?:unit|http|process|live|clients)\//.test(line))
  .map((line) => line.split('|').at(-2)!.trim());

/** `unit/a/b "name", "name", http/c "name"` → each file with the test names it must contain. */
function references(cell: string): [file: string, names: string[]][] {
  const files = cell.split(/(?=\b(?:unit|http|process|live|clients)\/)/);
  return files.map((part) => [
    // What needs a newer Node is neither compiled nor type-checked with the rest.
    `test/${/^[\w/.-]+/.exec(part)![0]}.test.${part.startsWith('clients/') ? 'mjs' : 'ts'}`,
    [...part.matchAll(/"([^"]+)"/g)].map((match) => match[1]!),
  ]);
}

test('the pages name tests', () => expect(rows.length).toBeGreaterThan(30));

test.each(rows.flatMap(references))('%s contains %p', (file, names) => {
  expect(existsSync(file)).toBe(true);
  const text = readFileSync(file, 'utf8');
  for (const name of names) expect(text).toContain(name);
});
