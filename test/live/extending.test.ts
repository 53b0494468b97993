import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { ROOT } from '../../src/config/root.js';
import { exchange, get, json, lines, outcome } from '../support/exchange.js';
import { serve } from '../support/fake-server.js';
import { newFolder } from '../support/folder.js';
import { LIVE_KEY, LiveProcess } from '../support/live.js';

/** The three programs of docs/extending.md, each run as its users run it, on real llama.cpp. */

const folder = newFolder();
let server: LiveProcess | undefined;

async function run(program: string, env: Record<string, string> = {}): Promise<LiveProcess> {
  server = await LiveProcess.start(folder, { DATA_DIR: join(folder, program), ...env }, [
    `examples/${program}.js`,
  ]);
  return server;
}

afterEach(() => server?.kill());

const key = { 'X-API-Key': LIVE_KEY };

test('the page contains the example programs unchanged', () => {
  const page = readFileSync(join(ROOT, 'docs/extending.md'), 'utf8');
  const shown = [...page.matchAll(/```ts\n([\s\S]*?)```/g)].map((match) => match[1]);
  const files = readdirSync(join(ROOT, 'examples')).map((file) =>
    readFileSync(join(ROOT, 'examples', file), 'utf8'),
  );
  expect(files).toHaveLength(3);
  expect(shown.sort()).toEqual(files.sort());
});

test('custom-route serves a route that generates and one that does not', async () => {
  const program = await run('custom-route');
  const { url } = program;
  const haiku = (body: object | string, headers = key) => exchange(`${url}/haiku`, { headers, body });
  expect(outcome(await haiku({ about: 'rain' }))).toEqual({ status: 200, haiku: expect.stringMatching(/./) });
  // What LMServ does for its own routes it does for this one.
  expect((await exchange(`${url}/haiku`, { body: { about: 'rain' } })).status).toBe(401);
  expect(json(await haiku({})).error).toMatchObject({ code: 'invalid_value', param: 'about' });
  expect((await haiku('{')).status).toBe(400);
  expect((await get(`${url}/haiku`, key)).status).toBe(405);
  expect(json(await get(`${url}/usage`, key)).total).toMatchObject({
    requests: 1,
    prompt_tokens: expect.any(Number),
  });
  expect(json(await get(`${url}/whoami`, key))).toEqual({ name: 'default', admin: true });
  expect((await get(`${url}/whoami`)).status).toBe(401);
  expect((await get(`${url}/nope`, key)).status).toBe(404);
  expect(await program.stop()).toBe(0);
});

test('jwt-auth accepts tokens of the provider and nothing else', async () => {
  const { privateKey, publicKey } = await generateKeyPair('ES256');
  const forger = (await generateKeyPair('ES256')).privateKey;
  const jwk = { ...(await exportJWK(publicKey)), kid: 'k1', alg: 'ES256', use: 'sig' };
  const issuer = await serve((_request, response) => {
    response.setHeader('Content-Type', 'application/json');
    response.end(JSON.stringify({ keys: [jwk] }));
  });
  const token = (
    claims: object = {},
    { audience = 'lmserv', from = issuer, expires = '1h', by = privateKey } = {},
  ) =>
    new SignJWT({ ...claims })
      .setProtectedHeader({ alg: 'ES256', kid: 'k1' })
      .setSubject('ana')
      .setIssuer(from)
      .setAudience(audience)
      .setExpirationTime(expires)
      .sign(by);

  const { url } = await run('jwt-auth', { JWKS_URL: `${issuer}/keys`, JWT_ISSUER: issuer });
  const chat = (headers: Record<string, string>, body: object = {}) =>
    exchange(`${url}/complete`, {
      headers,
      body: {
        model: 'default',
        messages: [{ role: 'user', content: 'Name a famous Peruvian dish' }],
        ...{ temperature: 0, ...body },
      },
    });
  const bearer = (jwt: string) => ({ Authorization: `Bearer ${jwt}` });

  const good = await chat(bearer(await token()));
  expect(json(good).content).toMatch(/ceviche/i);
  const refused = [
    {},
    key,
    bearer(LIVE_KEY),
    bearer(await token({}, { by: forger })),
    bearer(await token({}, { audience: 'another' })),
    bearer(await token({}, { from: 'http://another.example' })),
    bearer(await token({}, { expires: '-1h' })),
    bearer(`${(await token()).split('.').slice(0, 2).join('.')}.`),
  ];
  for (const headers of refused) expect((await chat(headers)).status).toBe(401);

  // The token says whose money it spends and whose usage it reads.
  const acme = bearer(await token({ tenants: ['acme'] }));
  expect((await chat(acme, { tenant_id: 'acme' })).status).toBe(200);
  expect((await chat(bearer(await token()), { tenant_id: 'acme' })).status).toBe(403);
  const tenants = async (headers: Record<string, string>) =>
    json(await get(`${url}/usage`, headers)).usage.map(({ tenant }: { tenant: string }) => tenant);
  expect(await tenants(bearer(await token()))).toEqual(['ana']);
  expect(await tenants(bearer(await token({ admin: true })))).toEqual(['acme', 'ana']);
});

test('custom-backend serves a model like any other', async () => {
  const handbook = join(folder, 'handbook.md');
  const holidays = 'Everybody has thirty days of holidays a year.';
  writeFileSync(handbook, `Lunch is served at noon.\n\n${holidays}\n\nThe door opens at eight.\n`);
  const { url } = await run('custom-backend', { HANDBOOK: handbook });
  const messages = [{ role: 'user', content: 'How many days of holidays do I have?' }];
  const ask = (path: string, body: object) => exchange(url + path, { headers: key, body });

  const models = json(await get(`${url}/v1/models`, key)).data.map(({ id }: { id: string }) => id);
  expect(models).toEqual(expect.arrayContaining(['handbook', 'lmserv-demo']));
  const whole = json(await ask('/v1/chat/completions', { model: 'handbook', messages }));
  expect(whole.choices).toMatchObject([{ message: { content: holidays }, finish_reason: 'stop' }]);
  expect(whole.usage).toMatchObject({ prompt_tokens: 8, completion_tokens: 8 });
  const cut = await ask('/complete/stream', { model: 'handbook', messages, max_tokens: 2 });
  expect(lines(cut)).toEqual([
    { type: 'chunk', text: 'Everybody' },
    { type: 'chunk', text: ' has' },
    { type: 'done', finish_reason: 'length' },
  ]);
  // llama.cpp serves beside it.
  const dish = [{ role: 'user', content: 'Name a famous Peruvian dish' }];
  const other = await ask('/complete', { model: 'lmserv-demo', messages: dish, temperature: 0 });
  expect(json(other).content).toMatch(/ceviche/i);
  const rows = json(await get(`${url}/usage?tenant=default`, key)).usage;
  expect(rows.find(({ model }: { model: string }) => model === 'handbook')).toMatchObject({
    ...{ requests: 2, completion_tokens: 10 },
  });
});
