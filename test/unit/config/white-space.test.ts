import { loadConfig } from '../../../src/config/load.js';

const load = (env: Record<string, string>) =>
  loadConfig({}, { env: { LLM_CONNECT_PROVIDER: 'mock', ...env }, folder: '/nonexistent' });

test.each(['k\n', 'k\r', 'k\r\n', 'k ', ' k', '\tk\n'])('the key %j is k', (key) => {
  expect(load({ API_KEY: key })).toMatchObject({ apiKey: 'k', open: false });
});

test.each(['clé', 'a b', 'a\nb', 'a\u0000b', ' ', '\n', '\r\n'])(
  'the key %j, which no client can send, is refused',
  (key) => {
    expect(() => load({ API_KEY: key, HOST: '127.0.0.1' })).toThrow(/^API_KEY: must be printable ASCII.*$/);
  },
);

test.each([
  ['PORT', ' 8100\r', { port: 8100 }],
  ['HOST', ' 10.0.0.1 ', { host: '10.0.0.1' }],
  ['HOST', ' ', { host: '0.0.0.0' }],
  ['REPLY_RESUME', 'off\r', { replyResume: false }],
  ['LOG_LEVEL', 'debug ', { logLevel: 'debug' }],
  ['DATA_DIR', '/srv/data\r', { dataDir: '/srv/data' }],
])('%s=%j counts without the white space', (name, value, expected) => {
  expect(load({ API_KEY: 'k', [name]: value })).toMatchObject(expected);
});
