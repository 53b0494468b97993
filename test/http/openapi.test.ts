import { Ajv2020 } from 'ajv/dist/2020.js';
import type { Express } from 'express';
import supertest from 'supertest';
import { testApp } from '../support/app.js';

/** What the API says of itself. */

const app = testApp({ admin: {} as never });
const read = async () => (await supertest(app).get('/openapi.json').expect(200)).body;

interface Layer {
  readonly route?: { readonly path: string; readonly methods: Readonly<Record<string, boolean>> };
}

/** Not for clients: the files of the page, and a path that only explains its 404. */
const INTERNAL = ['/docs/{file}', '/v1/responses/{rest}'];

function routesOf({ router }: Express): string[] {
  const found = (router as unknown as { stack: Layer[] }).stack.flatMap(({ route }) => {
    const path = route?.path.replace(/[:*](\w+)/g, '{$1}') ?? '';
    // One for all methods only says which is allowed.
    const methods = route?.methods.patch
      ? []
      : ['get', 'post', 'put', 'delete'].filter((method) => route?.methods[method]);
    return INTERNAL.includes(path) ? [] : methods.map((method) => `${method} ${path}`);
  });
  return [...new Set(found)].sort();
}

test('every route is described, and nothing else is', async () => {
  const { paths } = await read();
  const described = Object.entries(paths).flatMap(([path, operations]) =>
    Object.keys(operations as object).map((method) => `${method} ${path}`),
  );
  expect(described.sort()).toEqual(routesOf(app));
});

test('each body has a schema that takes its example, and summaries are not empty', async () => {
  const { paths } = await read();
  const ajv = new Ajv2020({ strict: false });
  for (const [path, operations] of Object.entries<Record<string, any>>(paths)) {
    for (const { summary, requestBody } of Object.values(operations)) {
      expect([path, summary]).toEqual([path, expect.stringMatching(/\w/)]);
      if (!requestBody) continue;
      const { schema, example } = requestBody.content['application/json'];
      const isValid = ajv.compile(schema);
      expect([path, isValid(example), isValid.errors]).toEqual([path, true, null]);
      expect([path, isValid({ max_tokens: 'many', messages: 5, input: 5, prompt: 5 })]).toEqual([
        path,
        false,
      ]);
    }
  }
});

test('a schema shows what is behind the tidying up, and leaves out what is always refused', async () => {
  const { paths } = await read();
  const schemaOf = (path: string) => paths[path].post.requestBody.content['application/json'].schema;
  const { properties, required } = schemaOf('/v1/chat/completions');
  expect(required).toEqual(['messages']);
  expect(properties.messages).toMatchObject({ type: 'array', minItems: 1, maxItems: 2048 });
  expect(properties.tools.items.properties.function.required).toEqual(['name']);
  expect(properties.n).toMatchObject({ anyOf: [{ type: 'integer', maximum: 16 }, { type: 'null' }] });
  expect(properties).not.toHaveProperty('functions');
  expect(schemaOf('/v1/responses').properties.input.anyOf).toMatchObject([
    { type: 'string' },
    { type: 'array' },
  ]);
  const { items } = schemaOf('/v1/messages').properties.messages;
  expect(items.oneOf).toHaveLength(3);
});

test('errors are described once, and shown in the form of a dialect that has its own', async () => {
  const { paths, components } = await read();
  const errorOf = (path: string) => paths[path].post.responses.default;
  expect(errorOf('/v1/chat/completions')).toEqual({ $ref: '#/components/responses/Error' });
  expect(errorOf('/v1/messages').content['application/json'].example).toMatchObject({ type: 'error' });
  expect(components.responses.Error.description).toContain('| 503 | bodies_full |');
});

test('the page is served with all it loads, without a key, and allows nothing from elsewhere', async () => {
  const page = await supertest(app)
    .get('/docs')
    .expect(200)
    .expect('Content-Type', /^text\/html/);
  expect(page.headers['content-security-policy']).toMatch(/^default-src 'self';(?!.*https?:)(?!.*upgrade)/);
  const files = [...page.text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, file]) => `/${file}`);
  expect(files).toHaveLength(3);
  for (const file of files) await supertest(app).get(file).expect(200);
  expect((await supertest(app).get('/docs/start.js')).text).toContain("url: 'openapi.json'");
  for (const file of ['package.json', '..%2fpackage.json', 'index.html'])
    await supertest(app).get(`/docs/${file}`).expect(404);
  await supertest(app).get('/docs/').expect(308).expect('Location', '../docs');
  await supertest(app).get('/docs/swagger-ui.css').set('Range', 'bytes=999999999-').expect(200);
});
