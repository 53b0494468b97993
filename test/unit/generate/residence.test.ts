import type { Caller, GenerateRequest, ModelControl, ModelMemory } from '../../../src/contract.js';
import { LMServError } from '../../../src/errors.js';
import type { Resolve } from '../../../src/generate/generate.js';
import { Residence } from '../../../src/generate/residence.js';

const HOUR = 3_600_000;
const ann: Caller = { name: 'ann', admin: false };
const ben: Caller = { name: 'ben', admin: false };
const stranger = (address: string): Caller => ({ name: 'anonymous', admin: false, address });

const asked: GenerateRequest = { kind: 'chat', n: 1, model: 'asked', body: {} };
const as = (caller: Caller, mayManage = false) => ({ caller, mayManage });

/** Models in memory, and what was done to them. */
function world(state: Partial<ModelMemory> = {}, idleMs = HOUR, defaultId = 'default') {
  const done: string[] = [];
  const clock = { now: 0 };
  const loaded: ModelMemory = {
    id: 'm',
    state: 'loaded',
    pinned: false,
    busy: false,
    estimated: false,
    ...state,
  };
  const memory: ModelControl = {
    models: () => [loaded],
    load: async (id) => void done.push(`load ${id}`),
    unload: async (id) => void done.push(`unload ${id}`),
    pin: (id) => void done.push(`pin ${id}`),
    unpin: (id) => void done.push(`unpin ${id}`),
  };
  const backend = { load: async () => void done.push('load') };
  const resolve = ((name: string) => {
    if (name === 'nobody') throw new LMServError('model_not_found');
    return { members: [{ model: 'm', backend }, { model: 'second' }] };
  }) as unknown as Resolve;
  const residence = new Residence({
    resolve,
    memory,
    isDefault: (model) => model === defaultId,
    idleMs,
    now: () => clock.now,
  });
  return { residence, done, clock };
}

test('a model is loaded by its backend, and one of another server needs nothing', async () => {
  const { residence, done } = world();
  await residence.load(asked, new AbortController().signal, ann);
  expect(done).toEqual(['load']);
});

test('a load is a use: another caller does not unload what was loaded to be used', async () => {
  const { residence, done } = world();
  await residence.load(asked, new AbortController().signal, ben);
  await residence.keep('unload', asked, as(ann));
  expect(done).toEqual(['load']);
});

test('a model that only its caller used is unloaded', async () => {
  const { residence, done } = world();
  residence.used('m', ann);
  await residence.keep('unload', asked, as(ann));
  expect(done).toEqual(['unload m']);
});

test('a model that nobody used is unloaded', async () => {
  const { residence, done } = world();
  await residence.keep('unload', asked, as(ann));
  expect(done).toEqual(['unload m']);
});

test('a model that another caller used stays until that one has not used it for the idle time', async () => {
  const { residence, done, clock } = world();
  residence.used('m', ann);
  residence.used('m', ben);
  residence.used('m', ann);
  await residence.keep('unload', asked, as(ann));
  await residence.keep('unload', asked, as(ben));
  clock.now += HOUR - 1;
  residence.used('m', ann);
  await residence.keep('unload', asked, as(ann));
  expect(done).toEqual([]);
  clock.now += 1;
  await residence.keep('unload', asked, as(ann));
  expect(done).toEqual(['unload m']);
});

test('callers without a key are told apart by address', async () => {
  const { residence, done } = world();
  residence.used('m', stranger('10.0.0.1'));
  await residence.keep('unload', asked, as(stranger('10.0.0.2')));
  expect(done).toEqual([]);
  await residence.keep('unload', asked, as(stranger('10.0.0.1')));
  expect(done).toEqual(['unload m']);
});

test('without an idle time another caller’s use counts for ever', async () => {
  const { residence, done, clock } = world({}, 0);
  residence.used('m', ben);
  clock.now += 1_000 * HOUR;
  await residence.keep('unload', asked, as(ann));
  expect(done).toEqual([]);
});

test.each<[string, ReturnType<typeof world>]>([
  ['a busy model', world({ busy: true })],
  ['the default model', world({}, HOUR, 'm')],
])('%s is unloaded by admins only', async (_name, { residence, done }) => {
  await residence.keep('unload', asked, as(ann));
  expect(done).toEqual([]);
  await residence.keep('unload', asked, as(ann, true));
  expect(done).toEqual(['unload m']);
});

test('a pinned model stays, whoever asks', async () => {
  const { residence, done } = world({ pinned: true });
  await residence.keep('unload', asked, as(ann, true));
  expect(done).toEqual([]);
});

test('a model is pinned by admins only', async () => {
  const { residence, done } = world();
  await residence.keep('pin', asked, as(ann));
  expect(done).toEqual([]);
  await residence.keep('pin', asked, as(ann, true));
  expect(done).toEqual(['pin m']);
});

test('the model that replied is meant, not the first of its group', async () => {
  const { residence, done } = world({ id: 'second' });
  await residence.keep('unload', asked, as(ann), 'second');
  expect(done).toEqual(['unload second']);
});

test('a model of another server is left alone', async () => {
  const { residence, done } = world();
  await residence.keep('unload', asked, as(ann, true), 'remote');
  expect(done).toEqual([]);
});

test('an unknown model is model_not_found', async () => {
  const { residence } = world();
  const unknown = { ...asked, model: 'nobody' };
  await expect(residence.keep('unload', unknown, as(ann))).rejects.toMatchObject({ code: 'model_not_found' });
});
