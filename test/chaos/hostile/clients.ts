/** Malicious clients. Nothing that they do may hold up the server or another client for long. */
import { connect, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { REFUSAL } from './remote.js';
import { type Action, signalWorker, type World } from './world.js';
import { KEY } from '../../harness/server-process.js';
import type { Random } from '../../harness/random.js';

const run = (name: string, body: Action['run']): Action => ({ name, cls: 'clients', run: body });

const user = (content: unknown) => ({ role: 'user', content });

const times = <T>(count: number, make: (index: number) => T): T[] =>
  Array.from({ length: count }, (_, index) => make(index));

/** Texts that are part of their own replacement, so that an error grows with each text removed from it. */
function exploding(random: Random, first: string) {
  const cut = random.int(1, 7);
  const parts = ['[prompt]'.slice(0, cut), '[prompt]'.slice(cut)];
  return [user(first), ...times(random.int(28, 34), (index) => user(parts[index % 2]))];
}

/** Replies that take longer than any of these actions. */
const LONG = { max_tokens: 1_000, ignore_eos: true };

const schema = (value: unknown) => ({
  messages: [user('hi')],
  max_tokens: 8,
  response_format: { type: 'json_schema', json_schema: { name: 'x', schema: value } },
});

/** Schemas that are small to send and large to compile. */
const SCHEMAS: Readonly<Record<string, (random: Random) => unknown>> = {
  'an enum': (random) => ({
    enum: times(random.int(2_000, 60_000), (index) => `v${((index * 2_654_435_761) % 2 ** 32).toString(36)}`),
  }),
  'a list of types': (random) => ({ type: times(random.int(1_000, 60_000), () => 'string') }),
  properties: (random) => ({
    type: 'object',
    properties: Object.fromEntries(times(random.int(100, 290), (index) => [`p${index}`, { type: 'string' }])),
  }),
  'long texts': () => ({
    type: 'object',
    properties: Object.fromEntries(
      times(90, (index) => [`p${index}`, { type: 'string', minLength: 1_900, maxLength: 2_000 }]),
    ),
  }),
  lists: () => {
    const list = (items: object) => ({ type: 'array', minItems: 1_900, items });
    return list(list(list({ type: 'integer', minimum: -999_999_999_999, maximum: 999_999_999_999 })));
  },
  alternatives: () => ({ anyOf: times(140, () => ({ anyOf: [{ type: 'string' }, { type: 'null' }] })) }),
  depth: () => times(1_000, () => 0).reduce<object>((inner) => ({ type: 'array', items: inner }), {}),
  'a cycle': () => ({ $ref: '#/$defs/a', $defs: { a: { $ref: '#/$defs/b' }, b: { $ref: '#/$defs/a' } } }),
};

const tool = (index: number) => ({ type: 'function', function: { name: `f${index}`, parameters: {} } });

/** Bodies of up to 1 MiB with an odd shape: texts, or what is sent as JSON. */
const BODIES: Readonly<Record<string, (random: Random) => unknown>> = {
  'deep nesting': (random) => {
    const depth = random.int(1_000, 500_000);
    return `{"messages":${'['.repeat(depth)}${']'.repeat(depth)}}`;
  },
  'deep objects': () =>
    `{"messages":[{"role":"user","content":"hi","x":${'{"a":'.repeat(100_000)}1${'}'.repeat(100_001)}]}`,
  '38,000 parts': () => ({ messages: [user(times(38_000, () => ({ type: 'text', text: '' })))] }),
  '100,000 parts': () => ({ messages: [user(times(100_000, () => ({})))] }),
  '900 messages': (random) => ({ messages: times(900, () => user('word '.repeat(random.int(0, 200)))) }),
  '20,000 messages': () => ({ messages: times(20_000, () => user('x')) }),
  'thousands of tools': (random) => ({
    messages: [user('hi')],
    tools: times(random.int(2_000, 10_000), tool),
  }),
  '70,000 keys': () => ({
    messages: [user('hi')],
    ...Object.fromEntries(times(70_000, (index) => [`k${index}`, 1])),
  }),
  '100,000 stops': () => ({ messages: [user('hi')], stop: times(100_000, String) }),
  '60,000 biases': () => ({
    messages: [user('hi')],
    logit_bias: Object.fromEntries(times(60_000, (index) => [index, 1])),
  }),
  'a megabyte of text': (random) => ({
    messages: [user(random.pick(['a', ' ', '\n', '👩‍👩‍👧', '\\', '[']).repeat(90_000))],
  }),
};

/** A pixel, and 15 MB of nothing behind it: 20 MB in base64, by the route that takes it in its form. */
const PNG = Buffer.concat([
  Buffer.from(
    'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==',
    'base64',
  ),
  Buffer.alloc(15_000_000),
]);

const UPLOADS: Readonly<Record<string, (data: string) => object>> = {
  '/v1/chat/completions': (data) => ({
    max_tokens: 4,
    messages: [user([{ type: 'image_url', image_url: { url: `data:image/png;base64,${data}` } }])],
  }),
  '/v1/responses': (data) => ({
    max_output_tokens: 4,
    input: [user([{ type: 'input_image', image_url: `data:image/png;base64,${data}` }])],
  }),
  '/v1/messages': (data) => ({
    max_tokens: 4,
    messages: [user([{ type: 'image', source: { type: 'base64', media_type: 'image/png', data } }])],
  }),
};

/** A connection for raw bytes. */
function open({ port }: World): Socket {
  return connect(port, '127.0.0.1').on('error', () => undefined);
}

function head(path: string, body: string): string {
  const lines = ['Host: localhost', `X-API-Key: ${KEY}`, 'Content-Type: application/json'];
  return `POST ${path} HTTP/1.1\r\n${lines.join('\r\n')}\r\nContent-Length: ${body.length}\r\n\r\n`;
}

const STREAM = JSON.stringify({ messages: [user('Tell me a story')], stream: true, ...LONG });

/** One key sends as much as it can for 4 s. */
const flood =
  (send: (world: World) => Promise<{ readonly status: number | undefined }>): Action['run'] =>
  async (world, random) => {
    const until = performance.now() + 4_000;
    const lane = async () => {
      while (performance.now() < until) if ((await send(world)).status !== 200) await sleep(30);
    };
    await Promise.all(times(random.int(40, 120), lane));
  };

function* slices(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
}

/** During these, one key wants more than there is, and another may starve. */
export const FLOODS = ['a flood by one key', 'a flood of urgent tasks'] as const;

export const CLIENTS: readonly Action[] = [
  run('exploding prompt, remote that refuses', (world, random) =>
    world.chat({
      model: random.pick(['refuse', 'refuse-at-length']),
      messages: exploding(random, REFUSAL.split(' ')[0]!),
    }),
  ),
  run('exploding prompt, remote that is down', (world, random) =>
    world.chat({
      model: 'down',
      messages: exploding(random, random.pick(['The', 'provider', 'cannot', 'reached'])),
    }),
  ),
  run('exploding prompt, worker that is killed', async (world, random) => {
    const first = random.pick(['worker', 'signal', 'SIGKILL', 'the', 'ended']);
    const body = { model: 'spare', messages: exploding(random, first), logprobs: true, ...LONG };
    const asked = world.chat(body, { headers: { 'X-Reply-Resume': 'off' } });
    await sleep(random.int(50, 500));
    for (const worker of world.workersOf('spare')) signalWorker(worker, 'SIGKILL');
    await asked;
  }),
  ...Object.entries(SCHEMAS).map(([name, make]) =>
    run(`schema: ${name}`, (world, random) => world.chat(schema(make(random)))),
  ),
  ...Object.entries(BODIES).map(([name, make]) =>
    run(`body: ${name}`, (world, random) => {
      const body = make(random);
      const model = random.pick(['demo', 'refuse', 'down']);
      return world.chat(typeof body === 'string' ? body : { model, max_tokens: 4, ...(body as object) });
    }),
  ),
  run('many choices', (world, random) =>
    world.chat({
      messages: [user('hi')],
      n: random.int(3, 128),
      max_tokens: random.int(4, 60),
      ignore_eos: true,
    }),
  ),
  run(
    FLOODS[0],
    flood((world) =>
      world.chat({ messages: [user('hi')], max_tokens: 30, ignore_eos: true }, { as: 'greedy' }),
    ),
  ),
  run(
    FLOODS[1],
    flood((world) =>
      world.ask(
        '/llm',
        { task: 'chat_completion', input: { prompt: 'hi' }, max_tokens: 30, priority: 'urgent' },
        { as: 'greedy' },
      ),
    ),
  ),
  run('slow readers', async (world, random) => {
    const sockets = times(8, () => open(world));
    for (const socket of sockets) socket.pause().write(head('/v1/chat/completions', STREAM) + STREAM);
    await sleep(random.int(1_000, 3_000));
    for (const socket of sockets) socket.destroy();
  }),
  ...Object.entries(UPLOADS).map(([path, form]) =>
    run(`30 uploads of 20 MB at once to ${path}`, async (world, random) => {
      const fields = form(PNG.toString('base64'));
      const [taken, refused] = ['boxed', 'demo'].map((model) =>
        Buffer.from(JSON.stringify({ ...fields, model })),
      ) as [Buffer, Buffer];
      const upload = async (index: number) => {
        const body = random.chance(0.8) ? taken : refused;
        const as = random.pick(['greedy', 'odd', 'revocable'] as const);
        // Every other one comes in chunks, without its size.
        const sent = index % 2 === 0 ? body : Readable.from(slices(body));
        return (await world.ask(path, sent, { as, withinMs: 20_000 })).status;
      };
      const statuses = await Promise.all(times(30, upload));
      if (!statuses.includes(503)) world.problem(`30 uploads were all let in: ${statuses.join(' ')}`);
    }),
  ),
  run('slow bodies', (world, random) => {
    const bytes = async function* () {
      for (let sent = 0; sent < 60; sent += 1) yield await sleep(random.int(10, 60), STREAM[sent]);
    };
    return Promise.all(times(20, () => world.chat(Readable.from(bytes()), { withinMs: 2_500 })));
  }),
  run('aborts at random moments', (world, random) =>
    Promise.all(
      times(60, async () => {
        await sleep(random.int(0, 1_500));
        const n = random.int(1, 3);
        await world.chat({ ...(JSON.parse(STREAM) as object), n }, { withinMs: random.int(0, 300) });
      }),
    ),
  ),
  run('idle connections', async (world) => {
    const sockets = times(500, () => open(world));
    await sleep(2_000);
    for (const socket of sockets) socket.destroy();
  }),
  run('pipelining', async (world, random) => {
    const socket = open(world);
    const small = JSON.stringify({ prompt: 'hi', max_tokens: 4 });
    for (let sent = 0; sent < 200; sent += 1) {
      const [path, body] = random.pick([
        ['/chat', small],
        ['/v1/chat/completions', STREAM],
        ['/none', '{}'],
      ] as const);
      socket.write(head(path, body) + body);
    }
    await sleep(random.int(200, 2_500));
    socket.destroy();
  }),
  run('wrong keys', async (world, random) => {
    const wrong = () => random.pick(['key-', 'k'.repeat(8_000), 'KEY-greedy', '\xff', '[]', KEY.slice(1)]);
    const answers = await Promise.all(times(100, () => world.ask('/v1/models', undefined, { key: wrong() })));
    if (answers.some(({ status }) => status === 200)) world.problem('a wrong key was let in');
  }),
  run('odd tenants', (world, random) => {
    const names = [
      '__proto__',
      'constructor',
      'a;=1+cmd|x;b',
      '"',
      '\u202e',
      '../..',
      "' OR 1=1",
      't'.repeat(128),
      '𝟘',
    ];
    const tenant = () => random.pick(names) + (random.chance(0.5) ? random.int(0, 1e6) : '');
    return Promise.all(
      times(30, () =>
        world.ask('/complete', { prompt: 'hi', max_tokens: 1, tenant_id: tenant() }, { as: 'odd' }),
      ),
    );
  }),
  run('usage of a large table', async (world, random) => {
    await world.ask(
      `/usage${random.pick(['', '?format=csv', '?from=2000-01-01', '?tenant=t7'])}`,
      undefined,
      { withinMs: 15_000 },
    );
  }),
  run('scrapes', (world) => Promise.all(times(20, () => world.ask('/metrics', undefined, { as: 'odd' })))),
];
