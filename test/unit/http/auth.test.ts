import type { IncomingMessage } from 'node:http';
import { BlockList } from 'node:net';
import { keyAuth } from '../../../src/http/auth.js';

const keyless = new BlockList();
keyless.addSubnet('10.0.0.0', 8, 'ipv4');
keyless.addSubnet('fd00::', 8, 'ipv6');

const from = (remoteAddress: string, headers = {}) =>
  ({ headers, socket: { remoteAddress } }) as IncomingMessage;
const known = { name: 'alice', admin: false };
const authenticate = keyAuth({ lookup: (key) => (key === 'k' ? known : undefined), open: false, keyless });
const addressOf = async (remote: string) => (await authenticate(from(remote)))?.address;

test('clients without a key are told apart by their address', async () => {
  expect(await addressOf('10.0.0.1')).toBe('10.0.0.1');
  expect(await addressOf('::ffff:10.0.0.2')).toBe('10.0.0.2');
});

test('all addresses of one IPv6 network are one client', async () => {
  expect(await addressOf('fd00::1')).toBe(await addressOf('fd00::ffff:1234'));
  expect(await addressOf('fd00::1')).not.toBe(await addressOf('fd00:0:1::1'));
});

test('who has a key is known by it, wherever it comes from', async () => {
  expect(await authenticate(from('10.0.0.1', { 'x-api-key': 'k' }))).toEqual(known);
});

test('an empty X-API-Key does not hide a bearer key', async () => {
  const headers = { 'x-api-key': '', authorization: 'Bearer k' };
  expect(await authenticate(from('192.168.1.5', headers))).toEqual(known);
});

test('when keys are off everybody may do everything, each in its own turn', async () => {
  const open = keyAuth({ lookup: () => undefined, open: true, keyless: new BlockList() });
  expect(await open(from('192.168.1.5'))).toEqual({ name: 'anonymous', admin: true, address: '192.168.1.5' });
});
