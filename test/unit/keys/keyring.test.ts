import { chmodSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Keyring, KeyFileError, type KeyringOptions } from '../../../src/keys/keyring.js';
import { keyText, replaceFile, sha256, temporaryFolder, writePrivate } from './helpers.js';

let folder: ReturnType<typeof temporaryFolder>;
let file: string;
let open: Keyring[];

beforeEach(() => {
  folder = temporaryFolder();
  file = join(folder.path, 'keys.json');
  open = [];
});

afterEach(() => {
  for (const keyring of open) keyring.close();
  folder.remove();
});

function keyring(options: KeyringOptions = { file }): Keyring {
  const ring = new Keyring(options);
  open.push(ring);
  return ring;
}

const CANARY = 'canary-key-7f3a';
const entry = (name: string, fields: object = {}): object => ({
  name,
  sha256: sha256(`key of ${name}`),
  ...fields,
});

describe('authenticate', () => {
  test('knows each key of the file and no other', () => {
    writePrivate(
      file,
      keyText(entry('a'), entry('b', { rateLimitQps: 2.5 }), entry('root', { admin: true })),
    );
    const ring = keyring();
    expect(ring.size).toBe(3);
    expect(ring.authenticate('key of a')).toEqual({ name: 'a', admin: false, tenants: ['a'] });
    expect(ring.authenticate('key of b')).toEqual({
      name: 'b',
      admin: false,
      tenants: ['b'],
      rateLimitQps: 2.5,
    });
    expect(ring.authenticate('key of root')).toEqual({ name: 'root', admin: true });
    for (const wrong of [
      '',
      'key of c',
      'key of A',
      'key of a ',
      sha256('key of a'),
      '\ud800',
      'x'.repeat(100_000),
    ]) {
      expect(ring.authenticate(wrong)).toBeUndefined();
    }
  });

  test('a key spends for its own name and the tenants it lists, with * for any', () => {
    writePrivate(
      file,
      keyText(
        entry('shop', { tenants: ['acme', 'zeta', 'shop'] }),
        entry('gateway', { tenants: ['*'] }),
        entry('root', { admin: true, tenants: ['acme'] }),
      ),
    );
    const ring = keyring();
    expect(ring.authenticate('key of shop')?.tenants).toEqual(['shop', 'acme', 'zeta']);
    expect(ring.authenticate('key of gateway')).toEqual({ name: 'gateway', admin: false });
    expect(ring.authenticate('key of root')).toEqual({ name: 'root', admin: true });
  });

  test('API_KEY alone is an admin’s', () => {
    expect(Keyring.fromSingleKey(CANARY).authenticate(CANARY)).toEqual({ name: 'default', admin: true });
    expect(Keyring.fromSingleKey(CANARY, 'ops').authenticate(CANARY)).toEqual({ name: 'ops', admin: true });
    expect(Keyring.fromSingleKey(CANARY).authenticate(`${CANARY}x`)).toBeUndefined();
    expect(Keyring.fromSingleKey(CANARY).reload()).toBe(true);
  });

  test('API_KEY and the file go together', () => {
    writePrivate(file, keyText(entry('a')));
    const ring = keyring({ apiKey: CANARY, file });
    expect([ring.authenticate(CANARY)?.name, ring.authenticate('key of a')?.name]).toEqual(['default', 'a']);
    replaceFile(file, keyText());
    expect(ring.reload()).toBe(true);
    expect(ring.authenticate(CANARY)?.name).toBe('default');
    expect(ring.authenticate('key of a')).toBeUndefined();
  });

  test('no keys let nobody in, not even an empty one', () => {
    const none = keyring({ apiKey: '' });
    expect(none.size).toBe(0);
    expect(none.authenticate('')).toBeUndefined();
    writePrivate(file, keyText({ name: 'empty', sha256: sha256('') }));
    expect(keyring().authenticate('')).toBeUndefined();
  });

  test('a hash in capitals is the same hash', () => {
    writePrivate(file, keyText({ name: 'a', sha256: sha256(CANARY).toUpperCase() }));
    expect(keyring().authenticate(CANARY)?.name).toBe('a');
  });
});

test('budgets are those of the file, in nanos', () => {
  writePrivate(file, keyText(entry('a', { budget: { day: 0.5, monthTokens: 9 } }), entry('b')));
  const ring = keyring();
  expect(ring.budgetOf('a')).toEqual({
    day: { costNano: 500_000_000, tokens: undefined },
    month: { costNano: undefined, tokens: 9 },
  });
  expect([ring.budgetOf('b'), ring.budgetOf('c')]).toEqual([undefined, undefined]);
});

describe('a bad file', () => {
  const good = entry('a') as { sha256: string };
  test.each([
    ['no JSON', '{"keys": [\n{"name": canary}]}', 'is not valid JSON'],
    ['a list', '[]', 'the top level: '],
    ['no keys', '{}', 'keys: '],
    ['an unknown field', keyText({ ...good, [CANARY]: 1 }), 'keys.0: has a field that is not known'],
    [
      'the key itself',
      keyText({ name: 'a', key: CANARY, sha256: CANARY }),
      'keys.0.sha256: must be 64 hexadecimal',
    ],
    ['no hash', keyText({ name: 'a' }), 'keys.0.sha256: must be a text'],
    ['a name with spaces', keyText({ ...good, name: `${CANARY} x` }), 'keys.0.name: must be 1 to 64'],
    ['a key for a name', keyText({ ...good, name: `lms_${CANARY}` }), 'keys.0.name: must be'],
    ['a reserved name', keyText({ ...good, name: 'anonymous' }), 'keys.0.name: must be'],
    ['tenants that are no list', keyText({ ...good, tenants: CANARY }), 'keys.0.tenants: '],
    ['an empty tenant', keyText({ ...good, tenants: ['x', ''] }), 'keys.0.tenants.1: '],
    ['admin as text', keyText({ ...good, admin: CANARY }), 'keys.0.admin: '],
    ['a negative rate', keyText({ ...good, rateLimitQps: -1 }), 'keys.0.rateLimitQps: '],
    [
      'a rate near nothing',
      keyText({ ...good, rateLimitQps: 1e-300 }),
      'keys.0.rateLimitQps: must be 0, which',
    ],
    ['a rate beyond all', keyText({ ...good, rateLimitQps: 1e308 }), 'keys.0.rateLimitQps: must be 0, which'],
    ['a bad budget', keyText(entry('b'), { ...good, budget: { day: CANARY } }), 'keys.1.budget.day: '],
    ['a bad date', keyText({ ...good, created: CANARY }), 'keys.0.created: '],
    [
      'a name twice',
      keyText(entry('a'), { ...good, sha256: sha256('b') }),
      'keys.1.name: is that of keys.0 too',
    ],
    [
      'a hash twice',
      keyText(entry('b', good), { ...good, name: 'c' }),
      'keys.1.sha256: is that of keys.0 too',
    ],
  ])('with %s names the place and quotes nothing', (_, text, expected) => {
    writePrivate(file, text);
    let thrown: unknown;
    try {
      keyring();
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(KeyFileError);
    const shown = `${(thrown as Error).stack} ${JSON.stringify((thrown as Error).cause)}`;
    expect((thrown as Error).message).toContain(`The key file ${file}`);
    expect((thrown as Error).message).toContain(expected);
    expect(shown).not.toContain('canary');
    expect(shown).not.toContain(good.sha256);
  });

  test('of broken JSON is located by its line', () => {
    writePrivate(file, '{"keys": [\n\n {"name": "a" "b"}]}');
    expect(() => keyring()).toThrow(/is not valid JSON, line 3$/);
  });

  test('that is missing stops the start too', () => {
    expect(() => keyring()).toThrow(`The key file ${file} cannot be read (ENOENT)`);
  });

  test('may not take the name of API_KEY’s key', () => {
    writePrivate(file, keyText(entry('default')));
    expect(() => keyring({ file, apiKey: CANARY })).toThrow(
      'has a key of the name that the key of API_KEY has',
    );
  });

  test('with a byte order mark is not bad', () => {
    writePrivate(file, `\uFEFF${keyText(entry('a'))}`);
    expect(keyring().size).toBe(1);
  });
});

describe('the mode of the file', () => {
  test.each([0o644, 0o640, 0o604])('looser than 0600 is warned of: %o', (mode) => {
    writePrivate(file, keyText(entry('a')));
    chmodSync(file, mode);
    const warnings: string[] = [];
    keyring({ file, onWarning: (message) => warnings.push(message) });
    expect(warnings).toEqual([expect.stringContaining(`${file} has mode 0${mode.toString(8)}`)]);
  });

  test.each([0o600, 0o400])('as it should be is not: %o', (mode) => {
    writePrivate(file, keyText(entry('a')));
    chmodSync(file, mode);
    const warnings: string[] = [];
    keyring({ file, onWarning: (message) => warnings.push(message) });
    expect(warnings).toEqual([]);
  });
});

describe('reload', () => {
  test('takes new keys, drops revoked ones and changes rights at once', () => {
    writePrivate(file, keyText(entry('a'), entry('b')));
    const ring = keyring();
    replaceFile(file, keyText(entry('b', { admin: true }), entry('c')));
    expect(ring.authenticate('key of a')?.name).toBe('a');
    expect(ring.reload()).toBe(true);
    expect(ring.authenticate('key of a')).toBeUndefined();
    expect(ring.authenticate('key of b')?.admin).toBe(true);
    expect(ring.authenticate('key of c')?.name).toBe('c');
  });

  test.each([
    ['is bad', () => replaceFile(file, `{"keys": "${CANARY}"}`)],
    ['is gone', () => rmSync(file)],
  ])('keeps the old keys when the file %s, and says why', (_, spoil) => {
    writePrivate(file, keyText(entry('a', { budget: { day: 1 } })));
    const errors: Error[] = [];
    const ring = keyring({ file, onError: (error) => errors.push(error) });
    spoil();
    expect(ring.reload()).toBe(false);
    expect(errors.map(String)).toEqual([expect.stringContaining(file)]);
    expect(String(errors[0])).not.toContain(CANARY);
    expect(ring.authenticate('key of a')?.name).toBe('a');
    expect(ring.budgetOf('a')?.day.costNano).toBe(1e9);
  });
});

describe('watch', () => {
  /** A watching keyring and a queue of what it reports. */
  function watching(path = file): { ring: Keyring; next: () => Promise<number | Error> } {
    const seen: (number | Error)[] = [];
    let wake = (): void => undefined;
    const tell = (what: number | Error): void => {
      seen.push(what);
      wake();
    };
    const ring = keyring({ file: path, onReload: tell, onError: tell });
    ring.watch();
    const next = async (): Promise<number | Error> => {
      while (seen.length === 0) await new Promise<void>((done) => (wake = done));
      return seen.shift()!;
    };
    return { ring, next };
  }

  test('an atomic rename is noticed, again and again', async () => {
    writePrivate(file, keyText(entry('a')));
    const { ring, next } = watching();
    for (const names of [['a', 'b'], ['b'], ['a', 'b', 'c'], []]) {
      replaceFile(file, keyText(...names.map((name) => entry(name))));
      expect(await next()).toBe(names.length);
      expect(ring.authenticate('key of a')?.name).toBe(names.includes('a') ? 'a' : undefined);
    }
  });

  test('a write in place is noticed', async () => {
    writePrivate(file, keyText(entry('a')));
    const { ring, next } = watching();
    writeFileSync(file, keyText());
    let size = await next();
    // The file may have been read while it was empty.
    if (size instanceof Error) size = await next();
    expect(size).toBe(0);
    expect(ring.authenticate('key of a')).toBeUndefined();
  });

  test('a bad file is told once, then a good one is taken', async () => {
    writePrivate(file, keyText(entry('a')));
    const { ring, next } = watching();
    replaceFile(file, 'no json');
    expect(await next()).toBeInstanceOf(KeyFileError);
    // Other files of the folder do not make it be told again.
    writeFileSync(join(folder.path, 'other'), '');
    expect(ring.authenticate('key of a')?.name).toBe('a');
    replaceFile(file, keyText(entry('a'), entry('b')));
    expect(await next()).toBe(2);
  });

  test('a file that is gone keeps its keys, and is taken when it is back', async () => {
    writePrivate(file, keyText(entry('a')));
    const { ring, next } = watching();
    rmSync(file);
    expect(String(await next())).toContain('ENOENT');
    expect(ring.authenticate('key of a')?.name).toBe('a');
    writePrivate(`${file}.new`, keyText());
    renameSync(`${file}.new`, file);
    expect(await next()).toBe(0);
  });

  test('a link whose target changes is noticed, as in a mounted secret', async () => {
    for (const [version, ...names] of [
      ['v1', 'a'],
      ['v2', 'a', 'b'],
    ]) {
      mkdirSync(join(folder.path, version!));
      writePrivate(join(folder.path, version!, 'keys.json'), keyText(...names.map((name) => entry(name))));
    }
    symlinkSync('v1', join(folder.path, 'data'));
    symlinkSync('data/keys.json', file);
    const { next } = watching();
    symlinkSync('v2', join(folder.path, 'data.new'));
    renameSync(join(folder.path, 'data.new'), join(folder.path, 'data'));
    expect(await next()).toBe(2);
  });

  test('a change between reading and watching is not missed', async () => {
    writePrivate(file, keyText(entry('a')));
    const sizes: number[] = [];
    const ring = keyring({ file, onReload: (size) => sizes.push(size) });
    replaceFile(file, keyText());
    ring.watch();
    expect(sizes).toEqual([0]);
  });

  test('a folder that cannot be watched is reported; reload still works', () => {
    const inner = join(folder.path, 'inner');
    mkdirSync(inner);
    writePrivate(join(inner, 'keys.json'), keyText(entry('a')));
    const errors: Error[] = [];
    const ring = keyring({ file: join(inner, 'keys.json'), onError: (error) => errors.push(error) });
    rmSync(inner, { recursive: true });
    ring.watch();
    expect(errors[0]?.message).toContain('is not watched');
    mkdirSync(inner);
    writePrivate(join(inner, 'keys.json'), keyText());
    expect(ring.reload()).toBe(true);
    expect(ring.size).toBe(0);
  });
});
