import { pino } from 'pino';
import { Backends, type BackendRecord } from '../../../src/app/backends.js';
import type { Config } from '../../../src/config/load.js';
import { FakeBackend } from '../generate/helpers.js';
import { local, parse, remote } from '../config/file/helpers.js';

const GRACE_MS = 5_000;

/** Makes fake backends, which `made` lists in order. A name in `fail` cannot be made. */
function builder(fail: string[] = []) {
  const made: FakeBackend[] = [];
  const make = async ({ name }: { readonly name: string }): Promise<BackendRecord> => {
    if (fail.includes(name)) throw new Error(`no ${name}`);
    const backend = new FakeBackend(name);
    made.push(backend);
    return { backend, created: 7 };
  };
  return {
    made,
    build: (content: unknown, more: Partial<Config> = {}, backends: Record<string, FakeBackend> = {}) => {
      const config = {
        file: parse(content),
        unknownModel: '404',
        provider: 'local',
        maxTokens: 1024,
        shutdownGraceMs: GRACE_MS,
        ...more,
      } as Config;
      const options = { config, env: {}, logger: pino({ level: 'silent' }), backends: backends as never };
      return Backends.create(options, make);
    },
  };
}

const members = ({ registry }: Backends, name?: string, provider?: string) =>
  registry.resolve(name, undefined, provider).members.map(({ model }) => model);

describe('Backends', () => {
  const content = {
    models: { small: local({ context: 2048, price: { prompt: 1, completion: 2 } }) },
    remotes: {
      gpt: remote({ model: 'gpt-9', maxTokens: 5, provider: 'openai' }),
      box: remote({ aliases: ['other'], maxTokensCap: 9 }),
    },
    groups: {
      quality: { members: ['gpt', 'box'], fallback: ['cheap'], firstTokenSecs: 30 },
      cheap: { members: ['small'] },
    },
  };

  test('makes each model and remote once and serves them by their names', async () => {
    const { build, made } = builder();
    const built = await build(content);
    expect(made.map(({ name }) => name)).toEqual(['small', 'gpt', 'box']);
    expect(members(built, 'quality')).toEqual(['gpt', 'box', 'small']);
    expect(members(built, 'other')).toEqual(['box']);
    expect(built.registry.resolve('quality', undefined).firstTokenMs).toBe(30_000);
    expect(built.registry.priceOf('small')).toEqual({ promptPer1k: 1, completionPer1k: 2 });
    expect(built.registry.priceOf('gpt')).toBeUndefined();
  });

  test('serves the first model as default, fast and quality unless something else has that name', async () => {
    const built = await builder().build(content);
    for (const name of [undefined, 'default', 'fast']) expect(members(built, name)).toEqual(['small']);
    expect(built.registry.list().map(({ id }) => id)).toEqual([
      ...['small', 'default', 'fast', 'gpt', 'box', 'other', 'quality', 'cheap'],
    ]);
  });

  test.each([
    [{ ...content, default: 'quality' }, 'quality'],
    [{ ...content, default: 'other' }, 'box'],
    [{ ...content, groups: { default: { members: ['gpt'] } } }, 'default'],
  ])('has the default of the file (%#)', async (file, expected) => {
    const built = await builder().build(file);
    expect(built.registry.defaultId).toBe(expected);
    expect(members(built, 'fast')).toEqual(members(built));
    expect(members(built, 'default')).toEqual(members(built));
  });

  test('limits tokens as the model says, else the file, else the environment, else the context', async () => {
    const limits = ({ registry }: Backends, name: string) =>
      registry.resolve(name, undefined).members[0]!.maxTokens;
    const built = await builder().build(content);
    expect(limits(built, 'small')).toEqual({ default: 1024, cap: 2048 });
    expect(limits(built, 'gpt')).toEqual({ default: 5, cap: 2_147_483_647 });
    const other = await builder().build({ ...content, maxTokens: 77, maxTokensCap: 88 });
    expect(limits(other, 'small')).toEqual({ default: 77, cap: 88 });
    expect(limits(other, 'box')).toEqual({ default: 77, cap: 9 });
    const capped = await builder().build(content, { maxTokensCap: 99 });
    expect(limits(capped, 'small')).toEqual({ default: 1024, cap: 99 });
  });

  test('assigns models to the providers local, cloud and those of the remotes', async () => {
    const built = await builder().build(content);
    expect(members(built, undefined, 'local')).toEqual(['small']);
    expect(members(built, undefined, 'cloud')).toEqual(['gpt']);
    expect(members(built, 'gpt-9', 'openai')).toEqual(['gpt']);
    expect(members(built, undefined, 'box')).toEqual(['box']);
  });

  test('stops what was made when something cannot be made', async () => {
    const { build, made } = builder(['box']);
    await expect(build(content)).rejects.toThrow('no box');
    expect(made.map(({ stops }) => stops)).toEqual([[0], [0]]);
  });
});

describe('an applied configuration', () => {
  const before = { models: { a: local(), b: local() }, remotes: { r: remote() } };
  const after = {
    models: { a: local({ aliases: ['x'], price: { prompt: 1, completion: 1 } }), c: local() },
    remotes: { r: remote({ model: 'other' }) },
  };
  const names = (backends: readonly FakeBackend[]) => backends.map(({ name }) => name);

  test('keeps unchanged backends, starts new ones and lets removed ones finish', async () => {
    const { build, made } = builder();
    const backends = await build(before);
    backends.start();
    await backends.apply(parse(after));
    expect(names(made)).toEqual(['a', 'b', 'r', 'c', 'r']);
    expect(backends.served().map(({ model }) => model)).toEqual(['a', 'c', 'r']);
    const [a, b, oldR, c, newR] = made;
    const served = (name: string) => backends.registry.resolve(name, undefined).members[0]!.backend;
    expect(served('x')).toBe(a);
    expect(served('c')).toEqual(c);
    expect(served('r')).toBe(newR);
    expect(made.map(({ started }) => started)).toEqual([1, 1, 1, 1, 1]);
    expect([a!.stops, c!.stops, newR!.stops]).toEqual([[], [], []]);
    expect([b!.stops, oldR!.stops]).toEqual([[GRACE_MS], [GRACE_MS]]);
    expect(backends.registry.priceOf('a')).toEqual({ promptPer1k: 1, completionPer1k: 1 });
    expect(backends.registry.has('b')).toBe(false);
  });

  test('makes a new backend when the file of a model was replaced, not when it becomes known', async () => {
    const { build, made } = builder();
    const file = parse({ models: { a: local() } });
    const revised = (revision: string) => ({ ...file, models: { a: { ...file.models.a!, revision } } });
    const backends = await build({ models: { a: local() } });
    await backends.apply(revised('1'));
    expect(made).toHaveLength(1);
    await backends.apply(revised('2'));
    expect(names(made)).toEqual(['a', 'a']);
  });

  test('makes a new backend for a remote with the name of a former model', async () => {
    const { build, made } = builder();
    const backends = await build({ models: { a: local(), b: local() } });
    await backends.apply(parse({ models: { b: local() }, remotes: { a: remote() } }));
    expect(names(made)).toEqual(['a', 'b', 'a']);
    expect(made.map(({ stops }) => stops)).toEqual([[GRACE_MS], [], []]);
  });

  test('changes nothing when one of its backends cannot be made', async () => {
    const fail: string[] = [];
    const { build, made } = builder(fail);
    const backends = await build(before);
    fail.push('r');
    await expect(backends.apply(parse(after))).rejects.toThrow('no r');
    expect(names(made)).toEqual(['a', 'b', 'r', 'c']);
    expect(made.map(({ stops }) => stops)).toEqual([[], [], [], [0]]);
    expect(backends.served().map(({ model }) => model)).toEqual(['a', 'b', 'r']);
    expect(backends.file).toEqual(parse(before));
  });

  test('is refused while the server stops', async () => {
    const { build, made } = builder();
    const backends = await build(before);
    await backends.stop();
    await expect(backends.apply(parse(after))).rejects.toMatchObject({ code: 'draining' });
    expect(names(made)).toEqual(['a', 'b', 'r', 'c', 'r']);
    for (const { started, stops } of made) expect([started, stops]).toEqual([0, [0]]);
  });

  test('leaves custom backends unchanged', async () => {
    const { build } = builder();
    const own = new FakeBackend('own');
    const backends = await build(before, {}, { own });
    backends.start();
    await backends.apply(parse(after));
    expect([own.started, own.stops]).toEqual([1, []]);
    expect(members(backends, 'own')).toEqual(['own']);
    await backends.stop();
    expect(own.stops).toEqual([0]);
  });

  test('stop also ends backends that are finishing their replies', async () => {
    const { build, made } = builder();
    const backends = await build(before);
    const [, b] = made;
    let finish!: () => void;
    b!.stop = (graceMs) => {
      b!.stops.push(graceMs);
      return graceMs === 0 ? Promise.resolve(finish()) : new Promise((resolve) => (finish = resolve));
    };
    await backends.apply(parse(after));
    expect(b!.stops).toEqual([GRACE_MS]);
    await backends.stop();
    expect(b!.stops).toEqual([GRACE_MS, 0]);
  });
});

describe('the default model', () => {
  const content = { models: { a: local() }, remotes: { gpt: remote({ provider: 'openai' }) } };

  test.each([
    [{ defaultModel: 'gpt' }, 'gpt'],
    [{ provider: 'openai' }, 'gpt'],
    [{ provider: 'mock' }, 'mock'],
  ])('is the one in the variables: %j', async (config, expected) => {
    const backends = await builder().build({ ...content, default: 'a' }, config);
    expect(backends.registry.defaultId).toBe(expected);
  });

  test.each([
    [{ defaultModel: 'b' }, 'LLM_CONNECT_MODEL: there is no model b; there are a, gpt'],
    [
      { provider: 'b' },
      'LLM_CONNECT_PROVIDER: b is neither local, mock nor a provider of the configuration file',
    ],
  ])('is refused if the variables name an unknown one: %j', async (config, message) => {
    const { build, made } = builder();
    await expect(build(content, config)).rejects.toThrow(message);
    expect(made).toEqual([]);
  });
});
