/** The examples and tables of docs/client.md match the source. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ASK_EXIT } from '../../../src/commands/ask.js';
import * as client from '../../../src/client/index.js';
import { ROOT } from '../../../src/config/root.js';
import { completion, delta, done, fakeServer, sse } from '../../support/fake-server.js';
import { runModule, webContext } from './load-module.js';

const PAGE = readFileSync(join(ROOT, 'docs/client.md'), 'utf8');
const EXAMPLES = [...PAGE.matchAll(/```js\n([\s\S]*?)```/g)].map((match) => match[1]!);

test.each(EXAMPLES.map((code, at) => [at + 1, code] as const))('example %i runs', async (_, code) => {
  const { url, received } = await fakeServer((response, request) =>
    (request.body['stream'] ? sse(delta('an'), delta('swer'), done) : completion('answer'))(
      response,
      request,
    ),
  );
  const shown: unknown[] = [];
  const show = (...values: unknown[]): void => void shown.push(...values);
  const fail = (...values: unknown[]): never => {
    throw new Error(values.join(' '));
  };
  const process = { env: { LLM_BASE_URL: url, LLM_PROVIDER_FALLBACK: 'none' }, stdout: { write: show } };
  const console = { log: show, error: fail, warn: fail };
  await runModule(code.replaceAll('http://localhost:8000', url), webContext({ process, console }));
  expect(received.length).toBeGreaterThan(0);
  expect(shown.join('')).toMatch(/^(answer)+$/);
});

test('the page has examples', () => expect(EXAMPLES.length).toBeGreaterThanOrEqual(4));

/** The first column of the table that begins with this heading. */
function firstColumn(heading: string): string[] {
  const table = PAGE.split(/\n\n/).find((block) => block.startsWith(`| ${heading} `))!;
  const rows = table.trim().split('\n').slice(2);
  return rows.map((row) => row.split('|')[1]!.trim().replaceAll('`', ''));
}

test('the table of errors lists the exported ones', () => {
  const exported = Object.keys(client).filter((name) => name.endsWith('Error') && name !== 'LLMClientError');
  expect(firstColumn('error').sort()).toEqual(exported.sort());
});

test('the table of exit codes matches the command', () => {
  expect(firstColumn('exit code').map(Number)).toEqual(Object.values(ASK_EXIT));
});

test('the table of variables lists those that the source reads', () => {
  const source = readFileSync(join(ROOT, 'src/client/target.ts'), 'utf8');
  const read = new Set([...source.matchAll(/env\['(\w+)'\]/g)].map((match) => match[1]!));
  expect(firstColumn('variable').sort()).toEqual([...read].sort());
});
