import {
  chmodSync,
  mkdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { KeyFileError } from '../../../../src/accounts/keys/file.js';
import { Keyring, type KeyringOptions } from '../../../../src/accounts/keys/keyring.js';
import { thrownBy } from '../../../support/errors.js';
import { emptyFolder } from '../../../support/folder.js';
import { keyText, replaceFile, sha256, writePrivate } from './helpers.js';

const folder = emptyFolder();
const file = join(folder, 'keys.json');
const open: Keyring[] = [];
afterEach(() => open.splice(0).forEach((ring) => ring.close()));

function keyring(options: KeyringOptions = { file }): Keyring {
  const ring = new Keyring(options);
  open.push(ring);
  return ring;
}

const CANARY = 'canary-key-7f3a';
const entry = (name: string, fields: object = {}) => ({ name, sha256: sha256(`key of ${name}`), ...fields });

/** Writes the key file. */
const write = (...keys: object[]): void => writePrivate(file, keyText(...keys));

describe('authenticate', () => {
  test('accepts each key in the file and no other', () => {
    write(entry('a'), entry('b', { rateLimitQps: 2.5 }), entry('root', { admin: true }));
    const ring = keyring();
    expect(ring.size).toBe(3);
    expect(ring.authenticate('key of a')).toEqual({ name: 'a', admin: false, tenants: ['a'] });
    const b = { name: 'b', admin: false, tenants: ['b'], rateLimitQps: 2.5 };
    expect(ring.authenticate('key of b')).toEqual(b);
    expect(ring.authenticate('key of root')).toEqual({ name: 'root', admin: true });
    const wrong = [
      '',
      'key of c',
      'key of A',
      'key of a ',
      sha256('key of a'),
      '\ud800',
      'x'.repeat(100_000),
    ];
    for (const key of wrong) expect(ring.authenticate(key)).toBeUndefined();
  });

  test('lets a key charge its own name and the tenants it lists, or any with *', () => {
    write(
      entry('shop', { tenants: ['acme', 'zeta', 'shop'] }),
      entry('gateway', { tenants: ['*'] }),
      entry('root', { admin: true, tenants: ['acme'] }),
    );
    const ring = keyring();
    expect(ring.authenticate('key of shop')?.tenants).toEqual(['shop', 'acme', 'zeta']);
    expect(ring.authenticate('key of gateway')).toEqual({ name: 'gateway', admin: false });
    expect(ring.authenticate('key of root')).toEqual({ name: 'root', admin: true });
  });

  test('gives API_KEY admin rights', () => {
    const ring = new Keyring({ apiKey: CANARY });
    expect(ring.authenticate(CANARY)).toEqual({ name: 'default', admin: true });
    expect(ring.authenticate(`${CANARY}x`)).toBeUndefined();
  });

  test('accepts API_KEY along with the keys in the file', async () => {
    write(entry('a'));
    const ring = keyring({ apiKey: CANARY, file });
    expect([ring.authenticate(CANARY)?.name, ring.authenticate('key of a')?.name]).toEqual(['default', 'a']);
    replaceFile(file, keyText());
    await ring.reload();
    expect(ring.authenticate(CANARY)?.name).toBe('default');
    expect(ring.authenticate('key of a')).toBeUndefined();
  });

  test('accepts nothing without keys, not even an empty key', () => {
    const none = keyring({ apiKey: '' });
    expect(none.size).toBe(0);
    expect(none.authenticate('')).toBeUndefined();
    write({ name: 'empty', sha256: sha256('') });
    expect(keyring().authenticate('')).toBeUndefined();
  });

  test('accepts a hash in upper case', () => {
    write({ name: 'a', sha256: sha256(CANARY).toUpperCase() });
    expect(keyring().authenticate(CANARY)?.name).toBe('a');
  });
});

test('budgets are read from the file and converted to nanos', () => {
  write(entry('a', { budget: { day: 0.5, monthTokens: 9 } }), entry('b'));
  const ring = keyring();
  expect(ring.budgetOf('a')).toEqual({
    day: { costNano: 500_000_000n, tokens: undefined },
    month: { costNano: undefined, tokens: 9n },
  });
  expect([ring.budgetOf('b'), ring.budgetOf('c')]).toEqual([undefined, undefined]);
});

describe('an invalid key file', () => {
  const good = entry('a');
  test.each([
    ['a syntax error', '{"keys": [\n{"name": canary}]}', 'is not valid JSON'],
    ['a list', '[]', 'the top level: '],
    ['no keys', '{}', 'keys: '],
    ['an unknown field', keyText({ ...good, [CANARY]: 1 }), 'keys.0: unknown field'],
    ['the key itself', keyText({ name: 'a', key: CANARY, sha256: CANARY }), 'keys.0.sha256: must be 64 hex'],
    ['no hash', keyText({ name: 'a' }), 'keys.0.sha256: must be a string'],
    ['a name with spaces', keyText({ ...good, name: `${CANARY} x` }), 'keys.0.name: must be 1 to 64'],
    ['a key for a name', keyText({ ...good, name: `lms_${CANARY}` }), 'keys.0.name: must be'],
    ['a reserved name', keyText({ ...good, name: 'anonymous' }), 'keys.0.name: must be'],
    ['tenants that are not a list', keyText({ ...good, tenants: CANARY }), 'keys.0.tenants: '],
    ['an empty tenant', keyText({ ...good, tenants: ['x', ''] }), 'keys.0.tenants.1: '],
    ['admin as text', keyText({ ...good, admin: CANARY }), 'keys.0.admin: '],
    ['a negative rate', keyText({ ...good, rateLimitQps: -1 }), 'keys.0.rateLimitQps: '],
    ...[1e-300, 1e308].map((rateLimitQps): [string, string, string] => [
      `a rate of ${rateLimitQps}`,
      keyText({ ...good, rateLimitQps }),
      'keys.0.rateLimitQps: must be 0 for no limit',
    ]),
    ['a bad budget', keyText(entry('b'), { ...good, budget: { day: CANARY } }), 'keys.1.budget.day: '],
    ['a bad date', keyText({ ...good, created: CANARY }), 'keys.0.created: '],
    ['a name twice', keyText(entry('a'), { ...good, sha256: sha256('b') }), 'keys.1.name: duplicates keys.0'],
    ['a hash twice', keyText(entry('b', good), { ...good, name: 'c' }), 'keys.1.sha256: duplicates keys.0'],
  ])('with %s is reported with the place and without quoting it', (_, text, expected) => {
    writePrivate(file, text);
    const error = thrownBy(keyring) as Error;
    expect(error).toBeInstanceOf(KeyFileError);
    const shown = `${error.stack} ${JSON.stringify(error.cause)}`;
    expect(error.message).toContain(`The key file ${file}`);
    expect(error.message).toContain(expected);
    expect(shown).not.toContain('canary');
    expect(shown).not.toContain(good.sha256);
  });

  test('that is not valid JSON is reported with the line', () => {
    writePrivate(file, '{"keys": [\n\n {"name": "a" "b"}]}');
    expect(() => keyring()).toThrow(/is not valid JSON \(line 3, column \d+\)$/);
  });

  test('that is missing stops the start', () => {
    expect(() => keyring()).toThrow(`The key file ${file} cannot be read (ENOENT)`);
  });

  test('that uses the name of API_KEY’s key is refused', () => {
    write(entry('default'));
    expect(() => keyring({ file, apiKey: CANARY })).toThrow(
      'contains a key named "default", which is reserved for API_KEY',
    );
  });

  test('is not one that starts with a byte order mark', () => {
    writePrivate(file, `\uFEFF${keyText(entry('a'))}`);
    expect(keyring().size).toBe(1);
  });
});

describe('the mode of the file', () => {
  function warningsFor(mode: string): string[] {
    write(entry('a'));
    chmodSync(file, mode);
    const warnings: string[] = [];
    keyring({ file, onWarning: (message) => warnings.push(message) });
    return warnings;
  }

  test.each(['644', '640', '604'])('%s is reported as too permissive', (mode) => {
    expect(warningsFor(mode)).toEqual([expect.stringContaining(`${file} has mode 0${mode}`)]);
  });

  test.each(['600', '400'])('%s is accepted without a warning', (mode) => {
    expect(warningsFor(mode)).toEqual([]);
  });
});

test('the error for a file with too many keys or problems is short', () => {
  const keys = Array.from({ length: 10_001 }, (_, index) => ({ name: `${index}`, sha256: 'x' }));
  write(...keys);
  expect(() => keyring()).toThrow(/: keys: has more than 10000 keys$/);
  write(...keys.slice(1));
  expect(() => keyring()).toThrow(/keys\.9\.sha256: must be 64 hexadecimal digits; and 9990 more$/);
});

test('a reload of ten thousand keys yields to other work', async () => {
  write(entry('a'));
  const ring = keyring();
  replaceFile(file, keyText(...Array.from({ length: 10_000 }, (_, index) => entry(`key-${index}`))));
  const reloading = ring.reload();
  let turns = 0;
  while (ring.authenticate('key of a')) {
    await setImmediate();
    turns += 1;
  }
  await reloading;
  expect(ring.size).toBe(10_000);
  expect(turns).toBeGreaterThan(20);
  expect(ring.authenticate('key of key-9999')?.name).toBe('key-9999');
});

describe('reload', () => {
  test('applies new keys, revoked keys and changed rights at once', async () => {
    write(entry('a'), entry('b'));
    const ring = keyring();
    replaceFile(file, keyText(entry('b', { admin: true }), entry('c')));
    expect(ring.authenticate('key of a')?.name).toBe('a');
    await ring.reload();
    expect(ring.authenticate('key of a')).toBeUndefined();
    expect(ring.authenticate('key of b')?.admin).toBe(true);
    expect(ring.authenticate('key of c')?.name).toBe('c');
  });

  test.each([
    ['is invalid', () => replaceFile(file, `{"keys": "${CANARY}"}`)],
    ['is missing', () => rmSync(file)],
    ['contains the name of API_KEY’s key', () => replaceFile(file, keyText(entry('default')))],
  ])('keeps the old keys and reports the reason when the file %s', async (_, spoil) => {
    write(entry('a', { budget: { day: 1 } }));
    const errors: Error[] = [];
    const ring = keyring({ file, apiKey: 'key of API', onError: (error) => errors.push(error) });
    spoil();
    await ring.reload();
    expect(errors.map(String)).toEqual([expect.stringContaining(file)]);
    expect(String(errors[0])).not.toContain(CANARY);
    expect(ring.authenticate('key of a')?.name).toBe('a');
    expect(ring.budgetOf('a')?.day.costNano).toBe(1_000_000_000n);
  });
});

describe('watch', () => {
  /** A watching keyring whose seconds are turns of the event loop, and what it reported. */
  function watching(path = file) {
    const reported: (number | string)[] = [];
    const ring = keyring({
      file: path,
      onReload: (size) => reported.push(size),
      onError: (error) => reported.push(error.message),
      wait: () => setImmediate(),
    });
    ring.watch();
    return { ring, reported };
  }

  const until = async (condition: () => boolean): Promise<void> => {
    while (!condition()) await setImmediate();
  };

  const withA = keyText(entry('a'), entry('b'));
  const withoutA = keyText(entry('b'));
  const inner = join(folder, 'inner');
  const path = join(inner, 'keys.json');

  function writeFolder(name: string, text: string): void {
    mkdirSync(join(folder, name));
    writePrivate(join(folder, name, 'keys.json'), text);
  }

  beforeEach(() => writeFolder('inner', withA));

  /** Ways to revoke a key in inner/keys.json. */
  const CHANGES: [string, () => void][] = [
    ['replaces the file', () => replaceFile(path, withoutA)],
    ['writes it in place', () => writeFileSync(path, withoutA)],
    ['writes it in place with the same size and time', () => rewriteUnseen(path)],
    ['swaps the folder', () => swapFolder(withoutA, 'old')],
    ['deletes and recreates the folder', () => recreateFolder()],
    ['deletes and recreates the file', () => (rmSync(path), writePrivate(path, withoutA))],
    [
      'replaces it with a link to a link to the file',
      () => {
        writePrivate(join(folder, 'target'), withoutA);
        symlinkSync('target', join(folder, 'link'));
        rmSync(path);
        symlinkSync('../link', path);
      },
    ],
  ];

  function swapFolder(text: string, old: string): void {
    writeFolder('new', text);
    renameSync(inner, join(folder, old));
    renameSync(join(folder, 'new'), inner);
  }

  function recreateFolder(): void {
    rmSync(inner, { recursive: true, force: true });
    writeFolder('inner', withoutA);
  }

  /** Another text of the same length in the same file with the same modification time. */
  function rewriteUnseen(target: string): void {
    const { atime, mtime } = statSync(target);
    writeFileSync(target, withA.replace('"name":"a"', '"name":"z"').replace(sha256('key of a'), sha256('z')));
    utimesSync(target, atime, mtime);
  }

  test.each(CHANGES)('a key is revoked when an operator %s', async (_, change) => {
    const { ring } = watching(path);
    expect(ring.authenticate('key of a')?.name).toBe('a');
    change();
    await until(() => ring.authenticate('key of a') === undefined);
    expect(ring.authenticate('key of b')?.name).toBe('b');
  });

  test.each(CHANGES)(
    'a key is revoked after the folder was swapped and an operator %s',
    async (_, change) => {
      const { ring, reported } = watching(path);
      swapFolder(keyText(entry('a'), entry('b'), entry('c')), 'first');
      await until(() => reported.includes(3));
      change();
      await until(() => ring.authenticate('key of a') === undefined);
    },
  );

  test('a key is revoked when a link is swapped, as in a mounted secret', async () => {
    writeFolder('..2025', withA);
    writeFolder('..2026', withoutA);
    symlinkSync('..2025', join(folder, '..data'));
    symlinkSync('..data/keys.json', file);
    const { ring } = watching(file);
    symlinkSync('..2026', join(folder, '..data.new'));
    renameSync(join(folder, '..data.new'), join(folder, '..data'));
    await until(() => ring.authenticate('key of a') === undefined);
  });

  test.each([
    ['deleted', () => rmSync(path), 'ENOENT'],
    ['deleted with its folder', () => rmSync(inner, { recursive: true }), 'ENOENT'],
    ['emptied', () => truncateSync(path), 'is not valid JSON'],
    ['cut in half', () => truncateSync(path, 50), 'is not valid JSON'],
    ['replaced by a folder', () => (rmSync(path), mkdirSync(path)), 'not a regular file'],
  ])('a file that is %s is reported once, and its keys stay valid', async (_, spoil, reason) => {
    const { ring, reported } = watching(path);
    spoil();
    await until(() => reported.length > 0);
    for (let turn = 0; turn < 100; turn += 1) await setImmediate();
    expect(reported).toEqual([expect.stringContaining(reason)]);
    expect(ring.authenticate('key of a')?.name).toBe('a');
    recreateFolder();
    await until(() => ring.authenticate('key of a') === undefined);
  });

  test('a change between the first read and watch() is applied', async () => {
    const ring = keyring({ file: path, wait: () => setImmediate() });
    replaceFile(path, keyText());
    ring.watch();
    await until(() => ring.size === 0);
  });
});

describe('the id of a key', () => {
  const idOf = (ring: Keyring, key: string) => ring.idOf(ring.authenticate(key)!)!;

  test('is its own, survives a reload and a restart, and is held as long as the key is accepted', async () => {
    write(entry('a'), entry('b'));
    const ring = keyring();
    const [a, b] = [idOf(ring, 'key of a'), idOf(ring, 'key of b')];
    expect(a).not.toBe(b);
    expect(a).not.toContain(sha256('key of a'));
    replaceFile(file, keyText(entry('a')));
    await ring.reload();
    expect([ring.holds(a), ring.holds(b), idOf(ring, 'key of a') === a]).toEqual([true, false, true]);
    expect(keyring().holds(a)).toBe(true);
  });

  test('is another one for another key under the same name, also for a request that is still running', async () => {
    write(entry('a'));
    const ring = keyring();
    const caller = ring.authenticate('key of a')!;
    const old = ring.idOf(caller)!;
    replaceFile(file, keyText({ name: 'a', sha256: sha256('new key') }));
    await ring.reload();
    expect(ring.idOf(caller)).toBe(old);
    expect(ring.holds(old)).toBe(false);
    expect(idOf(ring, 'new key')).not.toBe(old);
  });

  test('does not exist for a caller without a key, whatever its name', () => {
    write(entry('a'));
    expect(keyring().idOf({ name: 'a', admin: false })).toBeUndefined();
  });
});
