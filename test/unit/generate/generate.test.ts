import { LMServError } from '../../../src/errors.js';
import { createAskTokens, createGenerate, NO_CAP, type Resolved } from '../../../src/generate/generate.js';
import type { GenerateRequest, JsonObject, ReplyEvent, RequestDefaults } from '../../../src/contract.js';
import { pullFrom } from '../../support/pulled.js';
import { answering, backend as remote, streams } from '../backends/remote/helpers.js';
import { chat, context, fails, FakeBackend, FakeTimers, hangs, run, text } from './helpers.js';

const limits = { default: 10, cap: 100 };

const resolving = (...backends: FakeBackend[]): Resolved => ({
  members: backends.map((backend, position) => ({
    ...{ model: `model-${backend.name}`, backend },
    maxTokens: { default: limits.default + position, cap: limits.cap },
  })),
});

test('asks for what the request names', async () => {
  const asked: unknown[] = [];
  const generate = createGenerate((...names) => {
    asked.push(names);
    return resolving(new FakeBackend('a'));
  });
  const request = chat({ model: 'm', unknownModel: 'default', provider: 'cloud' });
  expect((await run(pullFrom(generate, request, context()))).said).toBe('a');
  expect(asked).toEqual([['m', 'default', 'cloud', 'chat']]);
});

test('limits the tokens, each member by its own limits', async () => {
  const backends = [new FakeBackend('a', fails(new LMServError('starting'))), new FakeBackend('b')];
  const generate = createGenerate(() => resolving(...backends));
  await run(pullFrom(generate, chat(), context()));
  await run(pullFrom(generate, chat({ body: { max_tokens: 500 } }), context()));
  const asked = backends.map((backend) => backend.asked.map(({ request }) => request.body.max_tokens));
  expect(asked).toEqual([
    [10, 100],
    [11, 100],
  ]);
});

test('leaves the length to the backend if neither the request nor the settings limit it', async () => {
  const asked = async (maxTokens: { default: number | undefined; cap: number }, max_tokens?: number) => {
    const backend = new FakeBackend('a');
    const generate = createGenerate(() => ({ members: [{ model: 'm', backend, maxTokens }] }));
    const body = max_tokens === undefined ? {} : { max_tokens };
    await run(pullFrom(generate, chat({ body }), context()));
    return backend.asked[0]!.request.body.max_tokens;
  };
  expect(await asked({ default: undefined, cap: NO_CAP })).toBeUndefined();
  expect(await asked({ default: undefined, cap: 4096 })).toBe(4096);
  expect(await asked({ default: 1024, cap: NO_CAP })).toBe(1024);
  expect(await asked({ default: undefined, cap: NO_CAP }, 7)).toBe(7);
  // A limit that is none, as clients may ask for it, is not sent either.
  expect(await asked({ default: 1024, cap: NO_CAP }, NO_CAP)).toBeUndefined();
  expect(await asked({ default: 1024, cap: 4096 }, NO_CAP)).toBe(4096);
});

test('a model with less context than the request wants room for refuses, and the next one is asked', async () => {
  const [small, large, unknown] = ['small', 'large', 'unknown'].map((name) => new FakeBackend(name));
  const knowing = (backend: FakeBackend, contextLength: number) =>
    Object.assign(backend, { facts: () => ({ capabilities: [], contextLength }) });
  const members = [knowing(small!, 4_096), knowing(large!, 8_192)];
  const said = async (contextLength: number | undefined, ...backends: FakeBackend[]) => {
    const generate = createGenerate(() => resolving(...backends));
    return run(pullFrom(generate, chat({ contextLength }), context()));
  };
  expect((await said(4_096, ...members)).said).toBe('small');
  expect((await said(4_097, ...members)).said).toBe('large');
  expect((await said(undefined, ...members)).said).toBe('small');
  expect((await said(1e9, unknown!)).said).toBe('unknown');
  expect((await said(8_193, ...members)).thrown).toMatchObject({
    ...{ code: 'context_length_exceeded', status: 400, param: 'num_ctx' },
    message: 'num_ctx: the context of this model has 8192 tokens',
  });
});

describe('what a request leaves open', () => {
  const OF_ROUTE = { sampling: { temperature: 0.8, top_p: 0.9 }, system: 'of the route' };
  const OF_MODEL = { sampling: { temperature: 0.1, top_k: 5 }, system: 'of the model' };
  const user = { role: 'user', content: 'Hi' };

  /** The body that reaches a backend. */
  async function bodyOf(body: JsonObject, more: Partial<GenerateRequest>, defaults?: RequestDefaults) {
    const backend = new FakeBackend('a');
    const maxTokens = { default: undefined, cap: NO_CAP };
    const generate = createGenerate(() => ({ members: [{ model: 'm', backend, maxTokens, defaults }] }));
    await run(pullFrom(generate, chat({ body, ...more }), context()));
    expect(backend.asked[0]!.request.defaults).toBeUndefined();
    return backend.asked[0]!.request.body;
  }

  test.each<[string, JsonObject, RequestDefaults | undefined, JsonObject, string]>([
    ['of the route', {}, undefined, { temperature: 0.8, top_p: 0.9 }, 'of the route'],
    ['of the model', {}, OF_MODEL, { temperature: 0.1, top_p: 0.9, top_k: 5 }, 'of the model'],
    ['of the model, in part', {}, { system: 'only' }, { temperature: 0.8, top_p: 0.9 }, 'only'],
    [
      'that it does not leave open is its own',
      { temperature: 0, top_k: 1 },
      OF_MODEL,
      { temperature: 0, top_p: 0.9, top_k: 1 },
      'of the model',
    ],
  ])('is %s', async (_, own, ofModel, sampling, system) => {
    const body = await bodyOf({ messages: [user], ...own }, { defaults: OF_ROUTE }, ofModel);
    expect(body).toEqual({ messages: [{ role: 'system', content: system }, user], ...sampling });
  });

  test.each(['system', 'developer'])('is not its system message where it has one, as %s', async (role) => {
    const messages = [user, { role, content: 'mine' }];
    expect(await bodyOf({ messages }, { defaults: OF_ROUTE }, OF_MODEL)).toMatchObject({ messages });
  });

  test('is sampling alone for a raw prompt', async () => {
    const body = await bodyOf({ prompt: 'Once' }, { kind: 'raw', defaults: OF_ROUTE }, OF_MODEL);
    expect(body).toEqual({ prompt: 'Once', temperature: 0.1, top_p: 0.9, top_k: 5 });
  });

  test('stays open without any defaults', async () => {
    expect(await bodyOf({ messages: [user] }, {})).toEqual({ messages: [user] });
  });
});

test('gives each choice of each prompt its own prompt and seed', async () => {
  const backend = new FakeBackend('a');
  const request = { kind: 'raw', n: 4, prompts: ['p', [1, 2]], body: { seed: 7 } } as const;
  await run(
    pullFrom(
      createGenerate(() => resolving(backend)),
      request as never,
      context(),
    ),
  );
  expect(
    backend.asked.map(({ request: { body, n, prompts } }) => [body.prompt, body.seed, n, prompts]),
  ).toEqual([
    ['p', 7, 1, undefined],
    ['p', 8, 1, undefined],
    [[1, 2], 7, 1, undefined],
    [[1, 2], 8, 1, undefined],
  ]);
});

test('gives each choice its own seed and merges them', async () => {
  const backend = new FakeBackend('a');
  const { events } = await run(
    pullFrom(
      createGenerate(() => resolving(backend)),
      chat({ n: 3, body: { seed: 7 } }),
      context(),
    ),
  );
  expect(backend.asked.map(({ request }) => request.body.seed)).toEqual([7, 8, 9]);
  const texts = events.filter((event) => event.type === 'text');
  expect(texts.map((event) => event.index).sort()).toEqual([0, 1, 2]);
});

test('ends at the request’s own deadline, also after the first token', async () => {
  const timers = new FakeTimers();
  const slow = new FakeBackend('a', async function* (request, its) {
    yield text('half');
    yield* hangs(request, its);
  });
  const generate = createGenerate(() => resolving(slow), { after: timers.after });
  const events = pullFrom(generate, chat({ deadlineMs: 4_000 }), context());
  await events.next();
  await events.next();
  timers.pass(4_000);
  await expect(events.next()).rejects.toMatchObject({
    code: 'provider_timeout',
    message: 'The reply was not finished within 4 s',
  });
  expect(timers.running).toBe(0);
});

test('the trace names the model before anything has come', async () => {
  const its = context();
  const backend = new FakeBackend('a', fails(new LMServError('unavailable')));
  await run(
    pullFrom(
      createGenerate(() => resolving(backend)),
      chat(),
      its,
    ),
  );
  expect(its.trace).toMatchObject({ model: 'model-a', backend: 'a', attempts: 1 });
});

describe('a sink that throws', () => {
  const full = new Error('the client’s buffer is full');
  const sink = {
    event: ({ type }: ReplyEvent) => {
      if (type === 'text') throw full;
    },
  };

  test('ends the generation with what it threw; nothing is tried again and nobody is blamed', async () => {
    const failures: unknown[] = [];
    const backends = [new FakeBackend('a'), new FakeBackend('b')];
    const generate = createGenerate(() => resolving(...backends), {
      onFailure: (failure) => failures.push(failure),
    });
    await expect(generate(chat(), context(), sink)).rejects.toBe(full);
    expect(backends.map(({ asked }) => asked.length)).toEqual([1, 0]);
    expect(failures).toEqual([]);
  });

  test('does not count against a provider', async () => {
    const server = await answering(streams());
    const { backend: far, lines } = remote(server.url, { retries: { attempts: 2, budgetMs: 5_000 } });
    const member = { model: 'm', backend: far, maxTokens: limits };
    const generate = createGenerate(() => ({ members: [member] }));
    for (let count = 0; count < 5; count += 1) {
      await expect(generate(chat({ body: { messages: [] } }), context(), sink)).rejects.toBe(full);
    }
    expect(far.status().ready).toBe(true);
    expect(lines).toEqual([]);
    expect(server.asked).toHaveLength(5);
  });
});

test('tokens are counted by the first member that can; without one it is 400', async () => {
  const { signal } = new AbortController();
  const able = Object.assign(new FakeBackend('b'), { askTokens: async () => 42 });
  const question = { about: 'prompt', request: chat() } as const;
  expect(await createAskTokens(() => resolving(new FakeBackend('a'), able))(question, signal)).toBe(42);
  const unable = createAskTokens(() => resolving(new FakeBackend('a')))(question, signal);
  await expect(unable).rejects.toMatchObject({ code: 'invalid_value', param: 'model' });
});
