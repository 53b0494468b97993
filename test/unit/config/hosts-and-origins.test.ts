import { isHost, isOrigin } from '../../../src/config/networks.js';
import { loadConfig } from '../../../src/config/load.js';

const load = (env: Record<string, string>) =>
  loadConfig({}, { env: { LLM_CONNECT_PROVIDER: 'mock', ...env }, folder: '/nonexistent' });

test.each([
  ...'http://localhost:3000 http://[::1]:3000 https://*.example.lan https://*.example.lan:8443'.split(' '),
  ...'app://obsidian.md app://*.obsidian.md tauri://localhost capacitor://localhost'.split(' '),
  'chrome-extension://abcdefghijklmnopabcdefghijklmnop',
  ...'moz-extension://0a1b2c3d-0000-4000-8000-000000000000 vscode-webview://0a1b2c3d'.split(' '),
])('%s is an origin', (origin) => {
  expect(isOrigin(origin)).toBe(true);
  expect(load({ CORS_ORIGINS: origin }).corsOrigins).toEqual([origin]);
});

test.each([
  ...'null file:// obsidian.md https://example.lan/ https://example.lan:443 https://Example.lan'.split(' '),
  ...'https://user@example.lan https://example.* https://a.*.lan https://*example.lan https://*'.split(' '),
  ...'http://localhost:* app://obsidian.md/ app://* app:// APP://obsidian.md *://localhost'.split(' '),
])('%s is none, and no pattern that would never match', (origin) => {
  expect(isOrigin(origin)).toBe(false);
  expect(() => load({ CORS_ORIGINS: origin })).toThrow(/^CORS_ORIGINS: must be \* or origins/);
});

test.each('* lmserv my_service llm.example.lan llm.example.lan. *.ts.net 10.0.0.1 ::1 bücher.lan'.split(' '))(
  '%s is a host',
  (host) => {
    expect(isHost(host)).toBe(true);
    expect(load({ ALLOWED_HOSTS: host }).allowedHosts).toEqual([host]);
  },
);

test.each(['llm.lan:8000', 'http://llm.lan', 'llm.lan/', '*ts.net', 'a.*.net', '*.', '**', 'a b', '[::1]'])(
  '%s is none, because it would never match',
  (host) => {
    expect(isHost(host)).toBe(false);
    expect(() => load({ ALLOWED_HOSTS: host })).toThrow(/^ALLOWED_HOSTS: must be names such as/);
  },
);

test.each(['x86_64-conda-linux-gnu', 'x86_64-apple-darwin13.4.0', 'mybox'])(
  'HOST=%s with the default key says who sets it',
  (host) => {
    expect(() => load({ HOST: host })).toThrow(
      `HOST: only 127.0.0.1 is possible with the default API_KEY; set your own key, or unset HOST (${host}), which conda and tcsh set`,
    );
  },
);
