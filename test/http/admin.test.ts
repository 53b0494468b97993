import supertest from 'supertest';
import type { ModelMemory } from '../../src/contract.js';
import { LMServError } from '../../src/errors.js';
import type { AdminSource } from '../../src/http/admin-routes.js';
import { keyAuth } from '../../src/http/auth.js';
import { BlockList } from 'node:net';
import { KEY, keyed, testApp, type TestOptions } from '../support/app.js';

/** Two local models and a remote one; `calls` are what the routes asked for. */
function fakeAdmin() {
  const calls: string[] = [];
  const memory = (id: string, more: Partial<ModelMemory> = {}): ModelMemory => ({
    ...{ id, state: 'unloaded', pinned: false, busy: false, estimated: true },
    ...more,
  });
  const note = (name: string) => async (id: string) => void calls.push(`${name} ${id}`);
  const admin: AdminSource = {
    memory: {
      models: () => [memory('org/a', { bytes: 7, lastUsed: 5_000, loadMs: 900 }), memory('b')],
      load: async (id) => {
        calls.push(`load ${id}`);
        if (id === 'b') throw new LMServError('unavailable', 'It needs 9 GB, and 4 GB are free');
      },
      unload: note('unload'),
      pin: (id) => void calls.push(`pin ${id}`),
      unpin: (id) => void calls.push(`unpin ${id}`),
    },
    registry: {
      list: () => [
        {
          ...{ id: 'org/a', created: 1, ownedBy: 'lmserv' },
          details: { state: 'unloaded', capabilities: ['chat'], sizeBytes: 3, quantization: 'Q8_0' },
        },
      ],
      modelsOf: (name) =>
        ({ 'org/a': ['org/a'], nick: ['org/a'], b: ['b'], far: ['far'], all: ['org/a', 'b'] })[name] ?? [],
    },
    unusable: () => [{ shown: 'x.gguf', reason: 'an adapter' }],
  };
  return { admin, calls };
}

type Headers = Record<string, string>;

function ask(path: string, headers: Headers = { 'X-API-Key': KEY }, more: Partial<TestOptions> = {}) {
  const { admin, calls } = fakeAdmin();
  const app = supertest(testApp({ admin, ...more }));
  const request = path === '/admin/models' ? app.get(path) : app.post(path);
  return { request: request.set(headers), calls };
}

test('GET /admin/models lists the local models with what is known of them, and other files', async () => {
  const { body } = await ask('/admin/models').request.expect(200);
  expect(body.data[0]).toEqual({
    id: 'org/a',
    object: 'model',
    state: 'unloaded',
    pinned: false,
    busy: false,
    memory_bytes: 7,
    memory_estimated: true,
    last_used: 5,
    load_ms: 900,
    error: null,
    size_bytes: 3,
    quantization: 'Q8_0',
    context_length: null,
    parameters: null,
  });
  expect(body.data[1]).toMatchObject({ id: 'b', memory_bytes: null, last_used: null, size_bytes: null });
  expect(body.skipped).toEqual([{ file: 'x.gguf', reason: 'an adapter' }]);
});

test.each(['load', 'unload', 'pin', 'unpin'])(
  'POST %s acts on the model and replies with it',
  async (action) => {
    const { request, calls } = ask(`/admin/models/org%2Fa/${action}`);
    expect((await request.expect(200)).body).toMatchObject({ id: 'org/a', state: 'unloaded' });
    expect(calls).toEqual([`${action} org/a`]);
  },
);

test('an alias stands for its model', async () => {
  const { request, calls } = ask('/admin/models/nick/load');
  await request.expect(200);
  expect(calls).toEqual(['load org/a']);
});

test.each([
  ['/admin/models/none/load', 404, 'There is no model "none"'],
  ['/admin/models/all/load', 400, 'all is a group; name one of org/a, b'],
  ['/admin/models/far/load', 400, 'far is not a model of this machine'],
  ['/admin/models/b/load', 503, 'It needs 9 GB, and 4 GB are free'],
  ['/admin/models/b/delete', 404, 'The actions are load, unload, pin, unpin'],
  ['/admin/models/b/toString', 404, 'The actions are'],
])('POST %s is %d', async (path, status, message) => {
  const { body } = await ask(path).request.expect(status);
  expect(body.error.message).toContain(message);
});

test('other methods are 405', async () => {
  const app = supertest(testApp({ admin: fakeAdmin().admin }));
  await app.post('/admin/models').set('X-API-Key', KEY).expect(405);
  await app.get('/admin/models/b/load').set('X-API-Key', KEY).expect(405);
});

describe('a caller', () => {
  const user = { name: 'user', admin: false };
  const lookup = (key: string) =>
    key === KEY ? { name: 'root', admin: true } : key === 'user' ? user : undefined;
  const open = keyAuth({ lookup, open: true, keyless: new BlockList() });

  test.each<[string, Headers, Partial<TestOptions>, number]>([
    ['without a key', {}, {}, 401],
    ['with an admin key', { 'X-API-Key': KEY }, {}, 200],
    ['with an admin key as Bearer', { Authorization: `Bearer ${KEY}` }, {}, 200],
    ['with another key', { 'X-API-Key': 'user' }, {}, 403],
    ['of a keyless network', {}, { authenticate: keyed(lookup, '127.0.0.0') }, 403],
    [
      'of a keyless network with another key',
      { 'X-API-Key': 'no' },
      { authenticate: keyed(lookup, '127.0.0.0') },
      403,
    ],
    [
      'of a keyless network with an admin key',
      { 'X-API-Key': KEY },
      { authenticate: keyed(lookup, '127.0.0.0') },
      200,
    ],
    ['on this machine while keys are off', {}, { authenticate: open }, 200],
    ['behind a proxy while keys are off', { 'X-Forwarded-For': '127.0.0.1' }, { authenticate: open }, 403],
    [
      'behind a trusted proxy while keys are off',
      { 'X-Forwarded-For': '127.0.0.1' },
      { authenticate: open, trustProxy: true },
      403,
    ],
  ])('%s', async (_, headers, options, status) => {
    const more = { authenticate: keyed(lookup), ...options };
    for (const path of ['/admin/models', '/admin/models/org%2Fa/unload']) {
      const { request, calls } = ask(path, headers, more);
      await request.expect(status);
      expect(calls).toHaveLength(status === 200 && path !== '/admin/models' ? 1 : 0);
    }
  });

  test.each([
    [{ Origin: 'http://evil.example' }, 403],
    [{ Origin: 'null' }, 403],
    [{ Origin: 'http://localhost:3000', Host: 'localhost:8000' }, 403],
    [{ 'Sec-Fetch-Site': 'cross-site' }, 403],
    [{ Origin: 'http://localhost:8000', Host: 'localhost:8000', 'Sec-Fetch-Site': 'same-origin' }, 200],
    [{ 'Sec-Fetch-Site': 'none' }, 200],
  ])('from a page: %j is %d, also with an admin key', async (headers, status) => {
    for (const more of [{ authenticate: keyed(lookup) }, { authenticate: open, corsOrigins: ['*'] }]) {
      const { request, calls } = ask('/admin/models/org%2Fa/load', { 'X-API-Key': KEY, ...headers }, more);
      await request.expect(status);
      expect(calls).toHaveLength(status === 200 ? 1 : 0);
    }
  });
});
