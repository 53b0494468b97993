import { createServer, type IncomingMessage, type Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { changeModel, listModels } from '../../../src/commands/models.js';
import { deadUrl } from '../../support/fake-server.js';
import { emptyFolder } from '../../support/folder.js';
import { ADAPTER, write } from '../catalogue/files.js';

const folder = emptyFolder();

const servers: Server[] = [];

afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

/** A server that notes requests and replies with the same JSON to each. */
async function replying(status: number, body: unknown) {
  const requests: Pick<IncomingMessage, 'method' | 'url' | 'headers'>[] = [];
  const server = createServer(({ method, url, headers }, response) => {
    requests.push({ method, url, headers });
    response.writeHead(status).end(typeof body === 'string' ? body : JSON.stringify(body));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  servers.push(server);
  const { port } = server.address() as AddressInfo;
  return { env: { PORT: String(port), HOST: '127.0.0.1', API_KEY: 'secret' }, requests };
}

const LISTING = {
  data: [
    {
      ...{ id: 'gemma', state: 'loaded', pinned: true, size_bytes: 1_500_000_000, context_length: 4096 },
      quantization: 'Q4_K - Medium',
    },
    { id: 'b', state: 'failed', error: 'no\u001b[2Jroom' },
  ],
  skipped: [{ file: 'x.gguf', reason: 'an adapter' }],
};

test('the models of the running server are listed', async () => {
  const { env, requests } = await replying(200, LISTING);
  expect(await listModels(env)).toBe(
    [
      'NAME   STATE   SIZE    QUANTISATION   CONTEXT  PINNED',
      'gemma  loaded  1.5 GB  Q4_K - Medium  4096     yes',
      'b      failed  -       -              -        no      no [2Jroom',
      '',
      'Other files:',
      '  x.gguf: an adapter',
    ].join('\n'),
  );
  expect(requests[0]).toMatchObject({
    method: 'GET',
    url: '/admin/models',
    headers: { 'x-api-key': 'secret' },
  });
});

test.each(['load', 'unload', 'pin', 'unpin'] as const)('%s is asked of the server', async (action) => {
  const { env, requests } = await replying(200, {
    id: 'org/a',
    state: 'loaded',
    pinned: true,
    data: [],
    skipped: [],
  });
  expect(await changeModel(action, 'org/a', env)).toBe('org/a: loaded, pinned');
  expect(requests.at(-1)).toMatchObject({ method: 'POST', url: `/admin/models/org%2Fa/${action}` });
});

test.each<[number, unknown, string]>([
  [503, { error: { message: 'It needs 9 GB' } }, 'It needs 9 GB'],
  [401, { error: { message: 'Bad API key' } }, 'Bad API key; set LLM_API_KEY to an admin key of this server'],
  [404, '<html>', 'is not an LMServ of this version (status 404)'],
])('a reply with status %d is explained', async (status, body, message) => {
  const { env } = await replying(status, body);
  await expect(changeModel('pin', 'a', env)).rejects.toThrow(message);
});

describe('without a server', () => {
  test('what it would serve is listed, and other files with the reasons', async () => {
    mkdirSync(join(folder, 'models'));
    write(join(folder, 'models/chat.gguf'));
    write(join(folder, 'models/style.gguf'), ADAPTER);
    const env = { LLM_BASE_URL: await deadUrl(), LLM_MODELS_DIR: join(folder, 'models') };
    const text = await listModels({ ...env, LLM_MODEL_PATH: join(folder, 'models/chat.gguf') });
    expect(text).toContain('No server runs here. It would serve:');
    expect(text).toMatch(/^chat +unloaded +\d+ B +Q4_K - Medium +4096 +no$/m);
    expect(text).toContain('style.gguf: an adapter');
  });

  test('nothing can be changed', async () => {
    const env = { LLM_BASE_URL: await deadUrl() };
    await expect(changeModel('load', 'a', env)).rejects.toThrow(
      'no server runs here; start one with lmserv serve',
    );
  });
});
