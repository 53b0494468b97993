import { patience, plan, type Limits, type ModelView } from '../../../src/memory/policy.js';

const NOW = 100_000;
const PATIENCE = 2_000;

/** An unloaded model that needs 10. */
const model = (id: string, more: Partial<ModelView> = {}): ModelView => ({
  id,
  phase: 'unloaded',
  need: { host: 10 },
  pinned: false,
  kept: false,
  running: false,
  waitingSince: undefined,
  held: false,
  lastUsed: NOW - 1_000,
  loadedAt: NOW - 50_000,
  patienceMs: PATIENCE,
  wantedSince: undefined,
  claim: 'free',
  discarded: false,
  ...more,
});

const loaded = (id: string, more: Partial<ModelView> = {}) => model(id, { phase: 'loaded', ...more });
const busy = (id: string, more: Partial<ModelView> = {}) => loaded(id, { running: true, ...more });
/** Its request came so many milliseconds ago. */
const waiting = (id: string, ms = 0, more: Partial<ModelView> = {}) =>
  model(id, { waitingSince: NOW - ms, ...more });

const limits = (host: number, more: Partial<Limits> = {}): Limits => ({
  budget: { host },
  margin: { host: 0 },
  idleMs: 600_000,
  ...more,
});

function decide(models: readonly ModelView[], given: number | Limits) {
  const { load, unload, hold, refuse, blocked, checkAt } = plan(
    models,
    typeof given === 'number' ? limits(given) : given,
    NOW,
  );
  const inMs = checkAt === undefined ? undefined : checkAt - NOW;
  return { load, unload: Object.fromEntries(unload), hold: [...hold], refuse, blocked, inMs };
}

const NOTHING = { load: [], unload: {}, hold: [], refuse: [], blocked: [] };

describe('a model that is asked for', () => {
  test('is loaded where it fits beside the others', () => {
    expect(decide([busy('a'), waiting('b')], 20)).toMatchObject({ ...NOTHING, load: ['b'] });
  });

  test('is left alone while nobody asks for it', () => {
    expect(decide([model('a'), loaded('b')], 20)).toMatchObject(NOTHING);
  });

  test('evicts the idle models that were used least recently, no more than needed, and waits until they are gone', () => {
    const models = [
      loaded('recent', { lastUsed: NOW - 1 }),
      loaded('oldest', { lastUsed: NOW - 3 }),
      loaded('older', { lastUsed: NOW - 2 }),
    ];
    expect(decide([...models, waiting('b', 0, { need: { host: 20 } })], 30)).toMatchObject({
      ...NOTHING,
      unload: { oldest: 'evicted', older: 'evicted' },
      blocked: ['b'],
    });
  });

  test('keeps a small model where a larger one makes enough room', () => {
    const models = [loaded('small', { need: { host: 1 }, lastUsed: 0 }), loaded('large', { lastUsed: 1 })];
    expect(decide([...models, waiting('b')], 11).unload).toEqual({ large: 'evicted' });
  });

  test('is not loaded before the memory of an unloaded model is free', () => {
    const models = [model('a', { phase: 'unloading' }), waiting('b')];
    expect(decide(models, 10)).toMatchObject({ ...NOTHING, blocked: ['b'] });
    expect(decide(models, 20)).toMatchObject({ ...NOTHING, load: ['b'] });
  });

  test('is loaded in the order of the oldest request', () => {
    const models = [waiting('young', 1), waiting('old', 3), waiting('middle', 2)];
    expect(decide(models, 20)).toMatchObject({ load: ['old', 'middle'], blocked: ['young'] });
  });

  test('may pass one that waits for busy models, if it fits in what is free', () => {
    const models = [
      busy('a'),
      waiting('large', 10, { need: { host: 20 } }),
      waiting('small', 1, { need: { host: 5 } }),
    ];
    expect(decide(models, 20)).toMatchObject({ load: ['small'], blocked: ['large'], hold: [] });
  });
});

describe('memory', () => {
  test('is counted from the beginning of a load', () => {
    expect(decide([model('a', { phase: 'loading' }), waiting('b')], 15)).toMatchObject({
      ...NOTHING,
      blocked: ['b'],
    });
  });

  test('is counted by kind: a model on another device is no victim', () => {
    const models = [
      loaded('gpu0', { need: { CUDA0: 10 }, lastUsed: 0 }),
      loaded('gpu1', { need: { CUDA1: 10 }, lastUsed: 1 }),
      waiting('b', 0, { need: { CUDA1: 10, host: 1 } }),
    ];
    const budget = { CUDA0: 10, CUDA1: 10, host: 100 };
    expect(decide(models, limits(0, { budget, margin: {} })).unload).toEqual({ gpu1: 'evicted' });
  });

  test('that the budget does not name is not limited', () => {
    const models = [loaded('a', { need: { NPU0: 1e9 } }), waiting('b', 0, { need: { NPU0: 1e9 } })];
    expect(decide(models, 10)).toMatchObject({ ...NOTHING, load: ['b'] });
  });

  test('that models have grown beyond, margin and all, is taken back from idle ones', () => {
    const models = [
      busy('a', { need: { host: 16 } }),
      loaded('b', { lastUsed: 2 }),
      loaded('c', { lastUsed: 1 }),
    ];
    expect(decide(models, limits(30, { margin: { host: 6 } })).unload).toEqual({});
    expect(decide(models, limits(30, { margin: { host: 5 } })).unload).toEqual({ c: 'evicted' });
  });

  test('is not taken back from the default model, a pinned one or a busy one', () => {
    const models = [busy('a'), loaded('b', { kept: true }), loaded('c', { pinned: true })];
    expect(decide(models, 20)).toMatchObject(NOTHING);
  });
});

describe('a model that does not fit', () => {
  test('into the budget is refused', () => {
    expect(decide([waiting('a')], 9)).toMatchObject({ ...NOTHING, refuse: ['a'] });
  });

  test('beside pinned models in memory is refused, and nothing is evicted for it', () => {
    const models = [loaded('pinned', { pinned: true }), loaded('idle', { need: { host: 1 } }), waiting('b')];
    expect(decide(models, 19)).toMatchObject({ ...NOTHING, refuse: ['b'] });
  });

  test('beside a busy model waits', () => {
    expect(decide([busy('a'), waiting('b')], 19)).toMatchObject({ ...NOTHING, blocked: ['b'] });
  });

  test('beside a loading model waits', () => {
    expect(decide([model('a', { phase: 'loading' }), waiting('b', 1e6)], 19)).toMatchObject({
      ...NOTHING,
      blocked: ['b'],
    });
  });
});

describe('turns', () => {
  const group = busy('a', { waitingSince: NOW - 9 });

  test('a busy model is held once another has waited as long as its patience', () => {
    expect(decide([group, waiting('b', PATIENCE - 5)], 10)).toMatchObject({ hold: [], inMs: 5 });
    expect(decide([group, waiting('b', PATIENCE)], 10)).toMatchObject({
      ...NOTHING,
      hold: ['a'],
      blocked: ['b'],
    });
  });

  test('a held model is evicted when its running replies have ended, although others wait for it', () => {
    const held = { held: true, waitingSince: NOW - 9 };
    expect(decide([busy('a', held), waiting('b', PATIENCE)], 10)).toMatchObject({ unload: {}, hold: ['a'] });
    expect(decide([loaded('a', held), waiting('b', PATIENCE)], 10)).toMatchObject({
      unload: { a: 'evicted' },
      blocked: ['b'],
    });
  });

  test('a model that has just been loaded has its turn first, however long others have waited', () => {
    const fresh = busy('a', { loadedAt: NOW - 500 });
    expect(decide([fresh, waiting('b', 60_000)], 10)).toMatchObject({ hold: [], inMs: PATIENCE - 500 });
  });

  test('a model with waiting requests that have no slot yet is not evicted', () => {
    expect(decide([loaded('a', { waitingSince: NOW - 1 }), waiting('b')], 10).unload).toEqual({});
  });

  test('the model that was loaded first is held, and one that is held stays so', () => {
    const models = [busy('younger', { loadedAt: NOW - 5_000 }), busy('older', { loadedAt: NOW - 9_000 })];
    expect(decide([...models, waiting('b', 60_000)], 20).hold).toEqual(['older']);
    const held = busy('youngest', { held: true, loadedAt: NOW - 3_000 });
    expect(decide([...models, held, waiting('b', 60_000)], 30).hold).toEqual(['youngest']);
  });

  test('a large model that has lost its patience collects idle memory, which smaller ones do not get', () => {
    const large = (ms: number) => waiting('large', ms, { need: { host: 25 } });
    const fresh = busy('fresh', { loadedAt: NOW - 1 });
    const models = [fresh, loaded('idle'), waiting('small', 1)];
    expect(decide([...models, large(PATIENCE - 1)], 30)).toMatchObject({
      load: ['small'],
      unload: {},
      blocked: ['large'],
      inMs: 1,
    });
    expect(decide([...models, large(PATIENCE)], 30)).toMatchObject({
      load: [],
      unload: { idle: 'evicted' },
      blocked: ['large', 'small'],
      hold: [],
      inMs: PATIENCE - 1,
    });
  });

  test('nothing is held for a model that would not fit all the same', () => {
    const models = [
      busy('a'),
      model('l', { phase: 'loading' }),
      waiting('b', 60_000, { need: { host: 15 } }),
    ];
    expect(decide(models, 24)).toMatchObject({ ...NOTHING, blocked: ['b'] });
  });

  test('a held model is released when nobody waits for its memory any more', () => {
    expect(decide([busy('a', { held: true }), model('b')], 10).hold).toEqual([]);
  });

  test('what is freed for a model is not given to another one', () => {
    const models = [
      busy('a', { held: true }),
      waiting('b', PATIENCE, { need: { host: 15 } }),
      waiting('c', 1, { need: { host: 5 } }),
    ];
    expect(decide(models, 15)).toMatchObject({ load: [], hold: ['a'], blocked: ['b', 'c'] });
  });
});

describe('an idle model', () => {
  const idle = (ms: number, more: Partial<ModelView> = {}) => loaded('a', { lastUsed: NOW - ms, ...more });
  const tenSeconds = limits(100, { idleMs: 10_000 });

  test('is unloaded after the idle time', () => {
    expect(decide([idle(9_999)], tenSeconds)).toMatchObject({ ...NOTHING, inMs: 1 });
    expect(decide([idle(10_000)], tenSeconds)).toMatchObject({ ...NOTHING, unload: { a: 'idle' } });
  });

  test.each([
    ['the idle time is 0', {}, 0],
    ['it is the default model', { kept: true }, 10_000],
    ['it is pinned', { pinned: true }, 10_000],
    ['a reply runs', { running: true }, 10_000],
    ['a request waits', { waitingSince: NOW }, 10_000],
  ])('stays if %s', (_why, more, idleMs) => {
    expect(decide([idle(60_000, more)], limits(100, { idleMs }))).toMatchObject({
      ...NOTHING,
      inMs: undefined,
    });
  });
});

describe('a pinned model', () => {
  test('is never evicted or held', () => {
    const models = [loaded('idle', { pinned: true }), busy('busy', { pinned: true }), waiting('b', 60_000)];
    expect(decide(models, 29)).toMatchObject({ ...NOTHING, refuse: ['b'] });
  });
});

describe('a model that is wanted without a request', () => {
  const wanted = (claim: ModelView['claim'], ms = 0) => model('w', { wantedSince: NOW - ms, claim });

  test('comes after those that somebody waits for; the default model first, then pinned ones', () => {
    const models = [
      wanted('free'),
      model('pinned', { wantedSince: NOW, pinned: true }),
      model('default', { wantedSince: NOW, kept: true }),
      waiting('asked'),
    ];
    expect(decide(models, 100).load).toEqual(['asked', 'default', 'pinned', 'w']);
  });

  test('at the start takes only free memory', () => {
    expect(decide([loaded('idle'), wanted('free')], 10)).toMatchObject(NOTHING);
    expect(decide([loaded('idle'), wanted('free')], 20).load).toEqual(['w']);
  });

  test('because a request went elsewhere takes that of idle models, but no turn', () => {
    expect(decide([loaded('idle'), wanted('idle')], 10).unload).toEqual({ idle: 'evicted' });
    expect(decide([busy('a'), wanted('idle', 60_000)], 10)).toMatchObject(NOTHING);
  });

  test('by an operator takes turns', () => {
    expect(decide([busy('a'), wanted('turn', PATIENCE)], 10).hold).toEqual(['a']);
  });
});

describe('a model that an operator unloads', () => {
  test('is held until its replies have ended', () => {
    expect(decide([busy('a', { discarded: true })], 10)).toMatchObject({ ...NOTHING, hold: ['a'] });
    expect(decide([loaded('a', { discarded: true })], 10)).toMatchObject({ unload: { a: 'operator' } });
  });

  test('is unloaded while it is loading', () => {
    expect(decide([model('a', { phase: 'loading', discarded: true })], 10).unload).toEqual({ a: 'operator' });
  });

  test('is loaded again for requests that came meanwhile, once it is gone', () => {
    expect(decide([waiting('a', 0, { phase: 'unloading', discarded: true })], 10).load).toEqual([]);
    expect(decide([waiting('a', 0)], 10).load).toEqual(['a']);
  });
});

test('the patience is three loads, at least 2 s, and never so long that requests time out for lack of a turn', () => {
  expect(patience(100, 30_000)).toBe(2_000);
  expect(patience(2_000, 30_000)).toBe(6_000);
  expect(patience(60_000, 30_000)).toBe(10_000);
});
