/** Runs the client library in a realm with the web's globals alone. */

import type * as ClientModule from '../../../src/client/index.js';
import { FakeServer, collect, deadUrl, delta, done, sse, stopServers } from './fake-server.js';
import { runModule, webContext } from './load-module.js';

afterEach(stopServers);

async function loadInBrowser(): Promise<{ client: typeof ClientModule; logged: string[] }> {
  const logged: string[] = [];
  const console = { warn: (message: string) => void logged.push(message) };
  const client = await runModule(`export * from 'lmserv/client'`, webContext({ console }));
  return { client: client as typeof ClientModule, logged };
}

test('streams, and reads no environment', async () => {
  const { client } = await loadInBrowser();
  const { url } = await FakeServer.start(sse(delta('Hello'), delta(' 🦙'), done));
  expect(await collect(client.createClient({ baseUrl: url }).stream('hi'))).toEqual(['Hello', ' 🦙']);
  expect((await client.generate('hi', { provider: 'stub' })).startsWith('[stub]')).toBe(true);
});

test('warns on the console when the fallback answers', async () => {
  const { client, logged } = await loadInBrowser();
  await client.createClient({ baseUrl: await deadUrl() }).generate('hi');
  expect(logged).toEqual([expect.stringMatching(/^lmserv\/client: lan failed .* stub answers instead$/)]);
});

test('errors are its own types', async () => {
  const { client } = await loadInBrowser();
  const asked = client.createClient({ baseUrl: await deadUrl(), fallback: 'none' }).generate('hi');
  await expect(asked).rejects.toBeInstanceOf(client.ConnectionError);
});
