/** Every example and table of docs/client.md, held to the source. */

import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ASK_EXIT } from '../../../src/commands/ask.js';
import * as client from '../../../src/client/index.js';
import { FakeServer, completion, delta, done, sse, stopServers } from './fake-server.js';
import { runModule, webContext } from './load-module.js';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');
const PAGE = readFileSync(resolve(ROOT, 'docs/client.md'), 'utf8');
const EXAMPLES = [...PAGE.matchAll(/```js\n([\s\S]*?)```/g)].map((match) => match[1]!);

afterEach(stopServers);

test.each(EXAMPLES.map((code, at) => [at + 1, code]))('example %i runs', async (_number, code) => {
  const { url, received } = await FakeServer.start((response, request) =>
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
  await runModule(String(code).replaceAll('http://localhost:8000', url), webContext({ process, console }));
  expect(received.length).toBeGreaterThan(0);
  expect(shown.join('')).toMatch(/^(answer)+$/);
});

test('there are examples', () => expect(EXAMPLES.length).toBeGreaterThanOrEqual(4));

/** The first column of the table whose head begins with this. */
function firstColumn(head: string): string[] {
  const rows = PAGE.split(/\n\n/)
    .find((block) => block.startsWith(`| ${head} `))!
    .trim()
    .split('\n')
    .slice(2);
  return rows.map((row) => row.split('|')[1]!.trim().replaceAll('`', ''));
}

test('the table of errors is the exported ones', () => {
  const exported = Object.keys(client).filter((name) => name.endsWith('Error') && name !== 'LLMClientError');
  expect(firstColumn('error').sort()).toEqual(exported.sort());
});

test('the table of exit codes is the one of the command', () => {
  expect(firstColumn('exit code').map(Number)).toEqual(Object.values(ASK_EXIT));
});

test('the table of variables is what the source reads', () => {
  const source = readFileSync(resolve(ROOT, 'src/client/target.ts'), 'utf8');
  const read = new Set([...source.matchAll(/env\['(\w+)'\]/g)].map((match) => match[1]!));
  expect(firstColumn('variable').sort()).toEqual([...read].sort());
});
