import type { Backend, Capability } from '../../../src/contract.js';
import { flattenGroups, type Group } from '../../../src/generate/groups.js';
import { Registry, type RegistryEntry, type RegistryOptions } from '../../../src/generate/registry.js';
import { FakeBackend } from './helpers.js';

const entry = (id: string, more: Partial<RegistryEntry> = {}): RegistryEntry => ({
  info: { id, created: id.length, ownedBy: 'lmserv' },
  aliases: [],
  backends: [new FakeBackend(id)],
  maxTokens: { default: 10, cap: 100 },
  ...more,
});

const ENTRIES = [
  entry('small', { aliases: ['tiny'], providers: ['local'] }),
  entry('big', {
    providers: ['cloud', 'router'],
    upstream: 'org/big-9',
    price: { promptPer1k: 1, completionPer1k: 2 },
  }),
  entry('bigger', { providers: ['cloud', 'router'], upstream: 'org/bigger-9' }),
];

const group = (name: string, members: string[], fallback: string[] = []) => ({
  ...{ name, members, fallback, aliases: [] as string[] },
});

const registry = (options: RegistryOptions = {}, unknown: '404' | 'default' = '404') =>
  new Registry(ENTRIES, unknown, options);

const models = (made: Registry, ...asked: Parameters<Registry['resolve']>) =>
  made.resolve(...asked).members.map(({ model }) => model);

describe('what a model must be able to do', () => {
  const able = (id: string, ...capabilities: Capability[]) =>
    entry(id, { backends: [Object.assign(new FakeBackend(id), { facts: () => ({ capabilities }) })] });
  const entries = [entry('chatty'), able('vectors', 'embed'), able('more', 'embed'), able('judge', 'rerank')];
  const groups = [group('mixed', ['judge', 'more', 'vectors'])];
  const made = new Registry(entries, 'default', { groups });
  const find = (model: string | undefined, capability: Capability) =>
    models(made, model, undefined, undefined, capability);

  test('a model that is named is taken if it can', () => {
    expect(find('more', 'embed')).toEqual(['more']);
    expect(find('chatty', 'completion')).toEqual(['chatty']);
  });

  test('a model that is named with Ollama’s tag latest is taken, not the first that can', () => {
    expect(find('more:latest', 'embed')).toEqual(['more']);
    expect(() => find('chatty:latest', 'embed')).toThrow(/chatty cannot make embeddings/);
  });

  test('members of a group that cannot are passed over', () => {
    expect(find('mixed', 'embed')).toEqual(['more', 'vectors']);
    expect(find('mixed', 'rerank')).toEqual(['judge']);
  });

  test.each([undefined, 'text-embedding-3-small'])('%s means the first that can', (name) => {
    expect(find(name, 'chat')).toEqual(['chatty']);
    expect(find(name, 'embed')).toEqual(['vectors']);
  });

  test.each<[string, Capability, string]>([
    ['vectors', 'chat', 'model: vectors cannot chat; these models can: chatty'],
    ['chatty', 'embed', 'model: chatty cannot make embeddings; these models can: vectors, more, mixed'],
  ])('%s that cannot %s is refused with those that can', (name, capability, message) => {
    expect(() => find(name, capability)).toThrow(
      expect.objectContaining({ code: 'invalid_value', param: 'model', message }),
    );
  });
});

describe('names', () => {
  const made = registry({
    groups: [{ ...group('best', ['bigger', 'big']), aliases: ['top'], firstTokenMs: 5 }],
  });

  test('of models, aliases and groups are found', () => {
    expect(models(made, 'small', undefined)).toEqual(['small']);
    expect(models(made, 'tiny', undefined)).toEqual(['small']);
    expect(models(made, 'best', undefined)).toEqual(['bigger', 'big']);
    expect(made.resolve('top', undefined).firstTokenMs).toBe(5);
  });

  test('are found with Ollama’s tag latest and without it, the exact one first', () => {
    expect(models(made, 'small:latest', undefined)).toEqual(['small']);
    expect(models(made, 'top:latest', undefined)).toEqual(['bigger', 'big']);
    expect(made.modelsOf('tiny:latest')).toEqual(['small']);
    const both = new Registry([entry('a:latest'), entry('b'), entry('b:latest')], '404');
    expect(models(both, 'a', undefined)).toEqual(['a:latest']);
    expect(models(both, 'b', undefined)).toEqual(['b']);
    expect(models(both, 'b:latest', undefined)).toEqual(['b:latest']);
    expect(both.has('small:8b')).toBe(false);
  });

  test.each(['../small', 'small%2e', 'SMALL', '', '__proto__', 'constructor'])('%j is none', (name) => {
    expect(() => made.resolve(name, undefined)).toThrow(
      expect.objectContaining({ code: 'model_not_found', param: 'model' }),
    );
  });

  test('of aliases with defaults of their own lead to the same backend', () => {
    const [ofModel, ofAlias] = [{ system: 'of the model' }, { system: 'of the alias' }];
    const entries = [
      entry('a', {
        ...{ aliases: ['plain', 'poet'], defaults: ofModel, providers: ['local'] },
        aliasDefaults: new Map([['poet', ofAlias]]),
      }),
    ];
    const made = new Registry(entries, '404');
    const found = (name: string, provider?: string) => made.resolve(name, undefined, provider).members[0]!;
    expect([found('a').defaults, found('plain').defaults]).toEqual([ofModel, ofModel]);
    expect([found('poet').defaults, found('poet', 'local').defaults]).toEqual([ofAlias, ofAlias]);
    expect(found('poet').backend).toBe(found('a').backend);
    expect(found('poet').model).toBe('a');
  });

  test('tell the models that they mean', () => {
    expect(['tiny', 'best', 'none'].map((name) => made.modelsOf(name))).toEqual([
      ['small'],
      ['bigger', 'big'],
      [],
    ]);
  });

  test('that are unknown are the default’s where that is wished for', () => {
    expect(models(made, 'gpt-4o-mini', 'default')).toEqual(['small']);
    expect(models(registry({ defaultName: 'big' }, 'default'), 'gpt-4o-mini', undefined)).toEqual(['big']);
  });

  test('are listed, models first', () => {
    expect(made.list().map(({ id, created }) => [id, created])).toEqual([
      ['small', 5],
      ['tiny', 5],
      ['big', 3],
      ['bigger', 6],
      ['best', 6],
      ['top', 6],
    ]);
  });
});

describe('no name', () => {
  test('is the first model', () => {
    expect(models(registry(), undefined, undefined)).toEqual(['small']);
    expect(registry().defaultId).toBe('small');
  });

  test('is the default, a group as well', () => {
    const made = registry({ groups: [group('best', ['big'])], defaultName: 'best' });
    expect(models(made, undefined, undefined)).toEqual(['big']);
    expect([made.defaultId, made.defaultModels]).toEqual(['best', ['big']]);
  });

  test('is nothing where there is nothing', () => {
    const empty = new Registry([], '404');
    expect(() => empty.resolve(undefined, undefined)).toThrow('There is no such model');
    expect(empty.defaultId).toBeUndefined();
    expect(empty.defaultModels).toEqual([]);
  });
});

describe('a provider', () => {
  test('serves its own models, by our name or by its own', () => {
    expect(models(registry(), 'bigger', undefined, 'cloud')).toEqual(['bigger']);
    expect(models(registry(), 'org/bigger-9', undefined, 'router')).toEqual(['bigger']);
    expect(models(registry(), undefined, undefined, 'cloud')).toEqual(['big']);
    expect(models(registry(), 'gpt-4o-mini', 'default', 'router')).toEqual(['big']);
    expect(models(registry(), 'gpt-4o-mini', 'default', 'local')).toEqual(['small']);
  });

  test('does not serve another’s', () => {
    expect(() => registry().resolve('small', undefined, 'cloud')).toThrow(
      expect.objectContaining({ code: 'model_not_found' }),
    );
  });

  test('that is not there is told', () => {
    expect(() => registry().resolve('small', undefined, 'mars')).toThrow(
      expect.objectContaining({ code: 'configuration_error', status: 500 }),
    );
  });
});

test('prices are each model’s own', () => {
  expect(registry().priceOf('big')).toEqual({ promptPer1k: 1, completionPer1k: 2 });
  expect(registry().priceOf('small')).toBeUndefined();
});

test('a model in several groups is one backend', () => {
  const made = registry({ groups: [group('a', ['big']), group('b', ['small', 'big'])] });
  expect(made.resolve('a', undefined).members[0]!.backend).toBe(
    made.resolve('b', undefined).members[1]!.backend,
  );
});

describe('groups', () => {
  const flat = (groups: Record<string, Group>) =>
    flattenGroups(new Map(Object.entries(groups)), (name) => name.startsWith('m'));

  test('are tried member by member, then fallback by fallback, each model once', () => {
    const groups = {
      a: { members: ['m1', 'm2'], fallback: ['b', 'c'] },
      b: { members: ['m3', 'm1'], fallback: ['c'] },
      c: { members: ['m4'], fallback: [] },
    };
    expect(flat(groups).get('a')).toEqual(['m1', 'm2', 'm3', 'm4']);
  });

  test('that fall back to the same ones again and again are looked at once each', () => {
    let asked = 0;
    const names = Array.from({ length: 40 }, (_, i) => `g${i}`);
    const fallbackOf = (i: number) => (i === 39 ? [] : [`g${i + 1}`, `g${i + 1}`]);
    const groups = new Map(
      names.map((name, i) => {
        const fallback = fallbackOf(i);
        return [
          name,
          {
            members: [`m${i}`],
            get fallback() {
              asked += 1;
              return fallback;
            },
          },
        ] as const;
      }),
    );
    expect(flattenGroups(groups, () => true).get('g0')).toEqual(names.map((_, i) => `m${i}`));
    expect(asked).toBe(40);
  });

  test.each([
    [{ a: { members: ['x'], fallback: [] } }, ['a', 'members', 0], 'there is no model named "x"'],
    [{ a: { members: ['m'], fallback: ['x'] } }, ['a', 'fallback', 0], 'there is no group named "x"'],
    [{ a: { members: ['m'], fallback: ['a'] } }, ['a', 'fallback', 0], 'refers back to itself: a → a'],
    [
      { a: { members: ['m'], fallback: ['b'] }, b: { members: ['m'], fallback: ['a'] } },
      ['b', 'fallback', 0],
      'refers back to itself: a → b → a',
    ],
  ] as [Record<string, Group>, unknown[], string][])('%j is refused', (groups, path, message) => {
    expect(() => flat(groups)).toThrow(expect.objectContaining({ path, message }));
  });
});

test.each<[string, boolean, readonly Capability[] | undefined, boolean]>([
  ['workers with a projector', true, ['chat', 'images'], true],
  ['workers without one', true, ['chat', 'completion'], false],
  ['a server elsewhere that tells nothing', false, undefined, true],
  ['a server elsewhere that serves chats', false, ['chat', 'completion'], true],
])('whether images are taken, by %s', (_name, hasWorkers, capabilities, takes) => {
  const backend: Backend = new FakeBackend('a');
  if (hasWorkers) backend.workers = () => [];
  if (capabilities) backend.facts = () => ({ capabilities });
  expect(new Registry([entry('a', { backends: [backend] })], '404').takesImages).toBe(takes);
});
