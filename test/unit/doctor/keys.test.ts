import { checkEnvFile, checkKey, checkKeysFile } from '../../../src/doctor/checks/keys.js';
import { ok, warn, type Finding } from '../../../src/doctor/findings.js';
import { facts, FILE, having, testCheck, type Machine } from './fakes.js';

testCheck('the key', checkKey, [
  ['may be your own', { server: { apiKey: 'sixteen-letters!' } }, ok('one of your own')],
  [
    'may be in API_KEYS_FILE',
    { server: { apiKey: '', keysFile: '/keys.json' } },
    ok('those of API_KEYS_FILE'),
  ],
  [
    'is not needed on this machine only',
    { server: { apiKey: '', open: true } },
    ok('none is asked for; only this machine can reach the server'),
  ],
]);

test.each([
  ['the default one', { apiKey: 'changeme' }],
  ['shorter than 16 characters', { apiKey: 'fifteen-letters' }],
  ['none is asked for, and 0.0.0.0', { apiKey: '', open: true, host: '0.0.0.0' }],
])('the key causes a warning without quoting it: %s', (found, server) => {
  const finding = checkKey(facts({ server }));
  const todo = expect.stringContaining('openssl');
  expect(finding).toEqual({ level: 'warn', found: expect.stringContaining(found), todo });
  expect(JSON.stringify(finding)).not.toContain('fifteen');
});

const PATH = '/etc/keys.json';
const TEXT = JSON.stringify({ keys: [{ name: 'shop', sha256: 'ab'.repeat(32) }] });
const keysFile = (
  entry?: Partial<typeof FILE>,
  text = TEXT,
  platform: NodeJS.Platform = 'linux',
): Machine => ({
  server: { keysFile: PATH },
  paths: entry ? { [PATH]: { ...FILE, ...entry } } : {},
  probe: { platform, readText: async () => text },
});

testCheck('the key file', checkKeysFile, [
  ['is not required', {}, ok('none')],
  ['is ok when it is valid and private', keysFile({ mode: 0o600 }), ok(`1 key in ${PATH}`)],
  ['may have any mode on Windows', keysFile({ mode: 0o666 }, TEXT, 'win32'), having('ok')],
  ...[0o640, 0o604, 0o620].map((mode): [string, Machine, Finding] => [
    `causes a warning with mode ${mode.toString(8)}`,
    keysFile({ mode }),
    having('warn', undefined, `chmod 600 ${PATH}`),
  ]),
]);

test.each([
  ['missing', undefined, TEXT, 'there is no file'],
  ['a folder', { kind: 'folder' as const }, TEXT, 'is not a regular file'],
  ['not readable', { readable: false }, TEXT, 'may not be read'],
  ['not JSON', {}, '{"keys": [', 'is not valid JSON'],
  ['wrong in a field', {}, '{"keys": [{"name": "shop", "sha256": "my-secret-key"}]}', 'keys.0.sha256'],
])('the key file fails when it is %s', async (_, entry, content, message) => {
  const { level, found } = await checkKeysFile(facts(keysFile(entry, content)));
  expect([level, found]).toEqual(['fail', expect.stringContaining(message)]);
  expect(found).not.toContain('my-secret-key');
});

const envFile = (mode: number, envFileSecrets = ['API_KEY']): Machine => ({
  settings: { envFileSecrets },
  paths: { '/app/.env': { ...FILE, mode } },
});

testCheck('.env', checkEnvFile, [
  ['is not required', {}, having('ok', 'none')],
  ['is ok when it contains no secret', envFile(0o644, []), having('ok')],
  ['is ok when it is private', envFile(0o600), having('ok')],
  [
    'causes a warning when others can read a key in it',
    envFile(0o644),
    warn('/app/.env holds API_KEY, and other accounts may get at it (mode 0644)', 'chmod 600 /app/.env'),
  ],
]);
