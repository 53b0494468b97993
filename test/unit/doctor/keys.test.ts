import { checkEnvFile, checkKey, checkKeysFile } from '../../../src/doctor/checks/keys.js';
import { facts, FILE, type Machine } from './fakes.js';

describe('the key', () => {
  const finding = (server: Machine['server']) => checkKey(facts({ server: server! }));

  it.each([
    ['one of your own', { apiKey: 'sixteen-letters!' }],
    ['those of API_KEYS_FILE', { apiKey: '', keysFile: '/keys.json' }],
    ['none is asked for; only this machine can reach the server', { apiKey: '', open: true }],
  ])('is ok as %s', (found, server) => {
    expect(finding(server)).toEqual({ level: 'ok', found });
  });

  it.each([
    ['the default one', { apiKey: 'changeme' }],
    ['shorter than 16 characters', { apiKey: 'fifteen-letters' }],
    ['none is asked for, and 0.0.0.0', { apiKey: '', open: true, host: '0.0.0.0' }],
  ])('is warned of as %s', (found, server) => {
    const { level, ...texts } = finding(server);
    expect([level, texts]).toEqual([
      'warn',
      { found: expect.stringContaining(found), todo: expect.stringContaining('openssl') },
    ]);
    expect(JSON.stringify(texts)).not.toContain('fifteen');
  });
});

describe('the key file', () => {
  const PATH = '/etc/keys.json';
  const text = JSON.stringify({ keys: [{ name: 'shop', sha256: 'ab'.repeat(32) }] });
  const finding = (
    entry: Partial<typeof FILE> | undefined,
    content = text,
    platform: NodeJS.Platform = 'linux',
  ) =>
    checkKeysFile(
      facts({
        server: { keysFile: PATH },
        paths: entry ? { [PATH]: { ...FILE, ...entry } } : {},
        probe: { platform, readText: async () => content },
      }),
    );

  it('is ok when there is none, and when it is valid and closed', async () => {
    expect(await checkKeysFile(facts())).toEqual({ level: 'ok', found: 'none' });
    expect(await finding({ mode: 0o600 })).toEqual({ level: 'ok', found: `1 key in ${PATH}` });
    expect((await finding({ mode: 0o666 }, text, 'win32')).level).toBe('ok');
  });

  it.each([0o640, 0o604, 0o620])('is warned of with mode %o', async (mode) => {
    expect(await finding({ mode })).toMatchObject({ level: 'warn', todo: `chmod 600 ${PATH}` });
  });

  it.each([
    ['missing', undefined, text, 'there is no file'],
    ['a folder', { kind: 'folder' as const }, text, 'is not a file'],
    ['not readable', { readable: false }, text, 'may not be read'],
    ['no JSON', {}, '{"keys": [', 'is not valid JSON'],
    ['wrong in a field', {}, '{"keys": [{"name": "shop", "sha256": "my-secret-key"}]}', 'keys.0.sha256'],
  ])('fails when it is %s', async (_what, entry, content, message) => {
    const { level, found } = await finding(entry, content);
    expect([level, found]).toEqual(['fail', expect.stringContaining(message)]);
    expect(found).not.toContain('my-secret-key');
  });
});

describe('.env', () => {
  const finding = (mode: number, envFileSecrets = ['API_KEY']) =>
    checkEnvFile(facts({ settings: { envFileSecrets }, paths: { '/app/.env': { ...FILE, mode } } }));

  it('is ok when there is none, or nothing secret in it, or it is closed', async () => {
    expect((await checkEnvFile(facts())).found).toBe('none');
    expect((await finding(0o644, [])).level).toBe('ok');
    expect((await finding(0o600)).level).toBe('ok');
  });

  it('is warned of when others can read a key in it', async () => {
    expect(await finding(0o644)).toEqual({
      level: 'warn',
      found: '/app/.env holds API_KEY, and other accounts may get at it (mode 0644)',
      todo: 'chmod 600 /app/.env',
    });
  });
});
