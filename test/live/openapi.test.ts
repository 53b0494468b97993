import { join } from 'node:path';
import { get, json } from '../support/exchange.js';
import { newFolder } from '../support/folder.js';
import { demoModel, LiveServer, writeConfig } from '../support/live.js';
import { writeBert } from './bert-model.js';
import { KEY, post } from './requests.js';

/** The examples of the API's description, on the demo model and on one of random weights that reranks. */

const models = newFolder();
let live: LiveServer;

beforeAll(async () => {
  await writeBert(join(models, 'judge.gguf'), 'rerank');
  live = await new LiveServer((folder) => ({
    LMSERV_CONFIG: writeConfig(folder, {
      models: {
        chat: demoModel(),
        vectors: demoModel({ task: 'embed' }),
        judge: { path: join(models, 'judge.gguf'), threads: 1, preload: true },
      },
    }),
  })).start();
  await live.untilReady(({ workers }) => workers.idle === 3);
});

afterAll(() => live.stop());

interface Operation {
  readonly requestBody?: { readonly content: { readonly 'application/json': { readonly example: object } } };
  readonly responses: { readonly 200: { readonly content: Readonly<Record<string, object>> } };
}

async function operations(method: 'get' | 'post'): Promise<[string, Operation][]> {
  const { paths } = json(await get(`${live.url}/openapi.json`));
  return Object.entries<Record<string, Operation>>(paths).flatMap(([path, { [method]: operation }]) =>
    operation && !path.includes('{') ? [[path, operation]] : [],
  );
}

const typesOf = ({ responses }: Operation) => Object.keys(responses[200].content);

test('each example is served, in the content type that is described', async () => {
  const found = await operations('post');
  expect(found.length).toBeGreaterThan(8);
  for (const [path, operation] of found) {
    const { example = {} } = operation.requestBody?.content['application/json'] ?? {};
    const [first, ...others] = typesOf(operation);
    const replies = [{ type: first, body: example }];
    if (others.includes('text/event-stream'))
      replies.push({ type: 'text/event-stream', body: { ...example, stream: true } });
    for (const { type, body } of replies) {
      const { status, headers, text } = await post(live, path, body);
      expect([path, status, text === '']).toEqual([path, 200, false]);
      expect([path, headers['content-type']]).toEqual([path, expect.stringContaining(type!)]);
    }
  }
});

test('each route that only reads replies as described', async () => {
  for (const [path, operation] of await operations('get')) {
    const { status, headers } = await get(`${live.url}${path}`, KEY);
    expect([path, status]).toEqual([path, 200]);
    const [type] = String(headers['content-type']).split(';');
    expect([path, typesOf(operation)]).toEqual([path, expect.arrayContaining([type])]);
  }
});
