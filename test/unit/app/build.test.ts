import { buildRegistry, type BuildOptions, type Built } from '../../../src/app/build.js';
import { diffConfig } from '../../../src/config/file/diff.js';
import { FakeBackend } from '../generate/helpers.js';
import { local, parse, remote } from '../config/file/helpers.js';

/** Builds with fake backends; `made` is what was made, in order. */
function builder(fail?: string) {
  const made: FakeBackend[] = [];
  const make = (name: string) => {
    if (name === fail) throw new Error(`no ${name}`);
    const backend = new FakeBackend(name);
    made.push(backend);
    return { backend, created: 7 };
  };
  const options: BuildOptions = {
    makeLocal: make,
    makeRemote: (name) => Promise.resolve(make(name)),
    unknownModel: '404',
    maxTokens: 1024,
    maxTokensCap: undefined,
  };
  return {
    made,
    build: (content: unknown, more: Partial<BuildOptions> = {}) =>
      buildRegistry(parse(content), { ...options, ...more }),
  };
}

const members = ({ registry }: Built, name?: string, provider?: string) =>
  registry.resolve(name, undefined, provider).members.map(({ model }) => model);

describe('buildRegistry', () => {
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

  test('names that nothing has are the first model’s', async () => {
    const built = await builder().build(content);
    expect(members(built)).toEqual(['small']);
    expect(members(built, 'default')).toEqual(['small']);
    expect(members(built, 'fast')).toEqual(['small']);
    expect(built.registry.list().map(({ id }) => id)).toEqual([
      ...['small', 'default', 'fast', 'gpt', 'box', 'other', 'quality', 'cheap'],
    ]);
  });

  test.each([
    [{ ...content, default: 'quality' }, 'quality'],
    [{ ...content, default: 'other' }, 'box'],
    [{ ...content, groups: { default: { members: ['gpt'] } } }, 'default'],
  ])('the default is as the file says (%#)', async (file, standard) => {
    const built = await builder().build(file);
    expect(built.registry.standardId).toBe(standard);
    expect(members(built, 'fast')).toEqual(members(built));
    expect(members(built, 'default')).toEqual(members(built));
  });

  test('token limits: the model’s, else the file’s, else the environment’s, else the context', async () => {
    const limits = ({ registry }: Built, name: string) =>
      registry.resolve(name, undefined).members[0]!.maxTokens;
    const built = await builder().build(content);
    expect(limits(built, 'small')).toEqual({ standard: 1024, cap: 2048 });
    expect(limits(built, 'gpt')).toEqual({ standard: 5, cap: 2_147_483_647 });
    const other = await builder().build({ ...content, maxTokens: 77, maxTokensCap: 88 });
    expect(limits(other, 'small')).toEqual({ standard: 77, cap: 88 });
    expect(limits(other, 'box')).toEqual({ standard: 77, cap: 9 });
    const capped = await builder().build(content, { maxTokensCap: 99 });
    expect(limits(capped, 'small')).toEqual({ standard: 1024, cap: 99 });
  });

  test('providers are local, cloud and the remotes’ own', async () => {
    const built = await builder().build(content);
    expect(members(built, undefined, 'local')).toEqual(['small']);
    expect(members(built, undefined, 'cloud')).toEqual(['gpt']);
    expect(members(built, 'gpt-9', 'openai')).toEqual(['gpt']);
    expect(members(built, undefined, 'box')).toEqual(['box']);
  });

  test('what was made is stopped when something cannot be made', async () => {
    const { build, made } = builder('box');
    await expect(build(content)).rejects.toThrow('no box');
    expect(made.map(({ stops }) => stops)).toEqual([[0], [0]]);
  });
});

describe('a changed file', () => {
  const before = { models: { a: local(), b: local() }, remotes: { r: remote() } };
  const after = {
    models: { a: local({ aliases: ['x'], price: { prompt: 1, completion: 1 } }), c: local() },
    remotes: { r: remote({ model: 'other' }) },
  };

  test('is compared by what backends are made from', () => {
    expect(diffConfig(parse(before), parse(after))).toEqual({
      models: { unchanged: ['a'], added: ['c'], changed: [], removed: ['b'] },
      remotes: { unchanged: [], added: [], changed: ['r'], removed: [] },
    });
  });

  test('a model that becomes a remote of the same name is another backend', () => {
    const diff = diffConfig(parse({ models: { a: local() } }), parse({ remotes: { a: remote() } }));
    expect(diff.models.removed).toEqual(['a']);
    expect(diff.remotes.added).toEqual(['a']);
  });

  test('keeps the backends that are the same and tells which are new and which are no longer needed', async () => {
    const { build, made } = builder();
    const old = await build(before);
    const built = await build(after, { previous: old });
    expect(made.map(({ name }) => name)).toEqual(['a', 'b', 'r', 'c', 'r']);
    const names = (backends: Built['backends']) => backends.map(({ name }) => name);
    expect(names(built.backends)).toEqual(['a', 'c', 'r']);
    expect(names(built.added)).toEqual(['c', 'r']);
    expect(names(built.retired)).toEqual(['b', 'r']);
    expect(built.backends[0]).toBe(old.backends[0]);
    expect(built.retired[1]).toBe(old.backends[2]);
    expect(built.registry.resolve('x', undefined).members[0]!.backend).toBe(old.backends[0]);
    expect(built.registry.priceOf('a')).toEqual({ promptPer1k: 1, completionPer1k: 1 });
    expect(made.flatMap(({ stops }) => stops)).toEqual([]);
  });

  test('that cannot be built leaves what runs alone', async () => {
    const { build, made } = builder();
    const old = await build(before);
    const failing = builder('r');
    await expect(failing.build(after, { previous: old })).rejects.toThrow('no r');
    expect(failing.made.map(({ name, stops }) => [name, stops])).toEqual([['c', [0]]]);
    expect(made.flatMap(({ stops }) => stops)).toEqual([]);
  });
});
