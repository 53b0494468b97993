import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { Keyring } from '../../../../src/accounts/keys/keyring.js';
import {
  addKey,
  formatAddedKey,
  formatKeys,
  listKeys,
  revokeKey,
} from '../../../../src/accounts/keys/manage.js';
import { emptyFolder, modeOf } from '../../../support/folder.js';
import { keyText, sha256, writePrivate } from './helpers.js';

const folder = emptyFolder();
const file = join(folder, 'new', 'keys.json');
const NOW = Date.parse('2025-03-01T10:00:00Z');

describe('addKey', () => {
  test('creates a key that works and stores only its SHA-256', async () => {
    const options = { name: 'shop', tenants: ['acme'], rateLimitQps: 5, budget: { day: 1.5, month: 20 } };
    const { key, info } = await addKey(file, { ...options, admin: false, now: NOW });
    expect(key).toMatch(/^lms_[A-Za-z0-9_-]{43}$/);
    const stored = { ...options, created: '2025-03-01T10:00:00.000Z' };
    expect(info).toEqual(stored);
    const text = readFileSync(file, 'utf8');
    expect(JSON.parse(text)).toEqual({ keys: [{ ...stored, sha256: sha256(key) }] });
    expect(text).not.toContain(key.slice(4));
    const caller = { name: 'shop', admin: false, tenants: ['shop', 'acme'], rateLimitQps: 5 };
    expect(new Keyring({ file }).authenticate(key)).toEqual(caller);
  });

  test('creates the file and its folder for their owner only, and keeps the mode of an existing file', async () => {
    await addKey(file, { name: 'a' });
    expect([modeOf(file), modeOf(join(folder, 'new'))]).toEqual(['600', '700']);
    chmodSync(file, 0o640);
    await addKey(file, { name: 'b' });
    expect(modeOf(file)).toBe('640');
    expect(readdirSync(join(folder, 'new'))).toEqual(['keys.json']);
  });

  test('refuses a name that is taken and leaves the file unchanged', async () => {
    await addKey(file, { name: 'a' });
    const before = readFileSync(file, 'utf8');
    const adding = addKey(file, { name: 'a', admin: true });
    await expect(adding).rejects.toThrow('already contains a key with that name');
    expect(readFileSync(file, 'utf8')).toBe(before);
  });

  test('adds twenty keys at once, all different', async () => {
    const names = Array.from({ length: 20 }, (_, index) => `key-${index}`);
    const added = await Promise.all(names.map((name) => addKey(file, { name })));
    expect(new Set(added.map(({ key }) => key)).size).toBe(20);
    const ring = new Keyring({ file });
    expect(added.map(({ key }) => ring.authenticate(key)?.name)).toEqual(names);
    expect(readdirSync(join(folder, 'new'))).toEqual(['keys.json']);
  });

  test('adds one of several keys with the same name at once', async () => {
    const tries = await Promise.allSettled([1, 2, 3].map(() => addKey(file, { name: 'same' })));
    expect(tries.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected', 'rejected']);
    expect(listKeys(file)).toHaveLength(1);
  });

  test('waits until another process releases the lock', async () => {
    await addKey(file, { name: 'a' });
    writeFileSync(`${file}.lock`, '1\n');
    const adding = addKey(file, { name: 'b' });
    expect(listKeys(file).map(({ name }) => name)).toEqual(['a']);
    rmSync(`${file}.lock`);
    await adding;
    expect(listKeys(file).map(({ name }) => name)).toEqual(['a', 'b']);
  });

  test('names a lock that is never released and leaves it in place', async () => {
    writePrivate(join(folder, 'keys.json.lock'), '1\n');
    const waiting = addKey(join(folder, 'keys.json'), { name: 'a', lockWaitMs: 1 });
    await expect(waiting).rejects.toThrow('keys.json.lock is held by another process');
    expect(readdirSync(folder)).toEqual(['keys.json.lock']);
  });

  test('takes over the lock of a killed process', async () => {
    const { pid } = spawnSync(process.execPath, ['-e', '']);
    const keys = join(folder, 'keys.json');
    writePrivate(`${keys}.lock`, JSON.stringify({ pid, host: hostname() }));
    await addKey(keys, { name: 'a', lockWaitMs: 1 });
    expect(readdirSync(folder)).toEqual(['keys.json']);
  });

  test.each([
    [{ name: 'two words' }, /^The name must be/],
    [{ name: 'lms_x' }, /^The name must be/],
    [{ name: 'a', rateLimitQps: NaN }, /keys\.0\.rateLimitQps: /],
    [{ name: 'a', budget: { day: -1 } }, /keys\.0\.budget\.day: /],
    [{ name: 'a', tenants: [''] }, /keys\.0\.tenants\.0: /],
  ])('refuses %j and creates no file', async (options, message) => {
    await expect(addKey(file, options)).rejects.toThrow(message);
    expect(existsSync(file)).toBe(false);
  });

  test('does not overwrite an invalid file', async () => {
    const bad = join(folder, 'bad.json');
    writePrivate(bad, '{"keys": [');
    await expect(addKey(bad, { name: 'a' })).rejects.toThrow('is not valid JSON');
    expect(readFileSync(bad, 'utf8')).toBe('{"keys": [');
    expect(readdirSync(folder)).toEqual(['bad.json']);
  });

  test('keeps the other keys, and a link as a link', async () => {
    const target = join(folder, 'target.json');
    const link = join(folder, 'link.json');
    const old = { name: 'old', sha256: sha256('old'), budget: { monthTokens: 7 }, admin: true };
    writePrivate(target, keyText(old));
    symlinkSync('target.json', link);
    const { key } = await addKey(link, { name: 'new' });
    expect(lstatSync(link).isSymbolicLink()).toBe(true);
    expect(JSON.parse(readFileSync(target, 'utf8')).keys[0]).toEqual(old);
    expect(new Keyring({ file: target }).authenticate(key)?.name).toBe('new');
  });

  test('creates the file that a link points to', async () => {
    const link = join(folder, 'link.json');
    symlinkSync('target.json', link);
    const { key } = await addKey(link, { name: 'new' });
    expect(lstatSync(link).isSymbolicLink()).toBe(true);
    expect(new Keyring({ file: join(folder, 'target.json') }).authenticate(key)?.name).toBe('new');
  });

  test('refuses to create a file larger than the server accepts', async () => {
    const full = join(folder, 'full.json');
    const tenants = Array.from({ length: 70_000 }, (_, index) => `${index}`.padStart(110, 't'));
    writePrivate(full, keyText({ name: 'old', sha256: sha256('old'), tenants }));
    const before = readFileSync(full, 'utf8');
    await expect(addKey(full, { name: 'a', tenants })).rejects.toThrow('would be larger than 8 MiB');
    expect(readFileSync(full, 'utf8')).toBe(before);
    expect(readdirSync(folder)).toEqual(['full.json']);
  });

  test('names the file that it cannot write', async () => {
    writeFileSync(join(folder, 'plain'), '');
    const blocked = join(folder, 'plain', 'keys.json');
    const message = `The key file ${blocked} cannot be written (`;
    await expect(addKey(blocked, { name: 'a' })).rejects.toThrow(message);
  });
});

describe('revokeKey', () => {
  test('removes a key, which then no longer works', async () => {
    const [a, b] = [await addKey(file, { name: 'a' }), await addKey(file, { name: 'b' })];
    const ring = new Keyring({ file });
    expect((await revokeKey(file, 'a')).name).toBe('a');
    await ring.reload();
    expect([a, b].map(({ key }) => ring.authenticate(key)?.name)).toEqual([undefined, 'b']);
    expect(modeOf(file)).toBe('600');
  });

  test('reports an unknown name without repeating it', async () => {
    const { key } = await addKey(file, { name: 'a' });
    const error: unknown = await revokeKey(file, key).catch((thrown: unknown) => thrown);
    expect(String(error)).toContain('has no key with that name');
    expect(String(error)).not.toContain(key);
    await expect(revokeKey(join(folder, 'none.json'), 'a')).rejects.toThrow('ENOENT');
  });
});

describe('the output', () => {
  test('of list has names, rights and limits, but no key or hash', async () => {
    const added = await addKey(file, {
      name: 'shop',
      tenants: ['acme', 'esc\u001b[31m'],
      rateLimitQps: 0.5,
      budget: { day: 1, month: 20, dayTokens: 300, monthTokens: 4000 },
      now: NOW,
    });
    const other = await addKey(file, { name: 'root', admin: true, now: NOW });
    const keys = listKeys(file);
    const text = formatKeys(keys);
    expect(text).toBe(
      [
        'NAME  ADMIN  TENANTS             QPS  BUDGET                                           CREATED',
        'shop  no     acme,esc\\u001b[31m  0.5  1/day 20/month 300 tokens/day 4000 tokens/month  2025-03-01',
        'root  yes    -                   -    -                                                2025-03-01',
        '',
      ].join('\n'),
    );
    const shown = JSON.stringify(keys) + text;
    for (const { key } of [added, other]) {
      expect(shown).not.toContain(key.slice(4));
      expect(shown).not.toContain(sha256(key).slice(0, 16));
    }
  });

  test('of add shows the key once', async () => {
    const added = await addKey(file, { name: 'shop' });
    const text = formatAddedKey(added);
    expect(text.split(added.key)).toHaveLength(2);
    expect(text).toContain('Key shop: ');
    expect(JSON.stringify(added.info)).not.toContain(sha256(added.key));
  });

  test('of list for an empty file is the header', () => {
    const empty = join(folder, 'empty.json');
    writePrivate(empty, keyText());
    expect(formatKeys(listKeys(empty))).toBe('NAME  ADMIN  TENANTS  QPS  BUDGET  CREATED\n');
  });
});
