import { invalidNetworks, isOrigin, parseTrustProxy, toBlockList } from '../../../src/config/networks.js';

test.each(['lan', '10.0.0.0/33', '::/129', '10.0.0.0/', '10.0.0.0/-1', '10.0.0.0/8/8', '10.0.0', ''])(
  '%j is not a valid network',
  (text) => {
    expect(invalidNetworks(['10.0.0.0/8', text, '::1'])).toEqual([text]);
  },
);

test('an address without bits is only that address', () => {
  const list = toBlockList(['10.0.0.7', 'fd00::1']);
  expect([list.check('10.0.0.7'), list.check('10.0.0.8')]).toEqual([true, false]);
  expect([list.check('fd00::1', 'ipv6'), list.check('fd00::2', 'ipv6')]).toEqual([true, false]);
});

test.each<[string, boolean | number | string | undefined]>([
  ['0', false],
  ['true', true],
  ['3', 3],
  ['loopback, 10.0.0.0/8', 'loopback, 10.0.0.0/8'],
  ['yes', undefined],
  ['loopback,lan', undefined],
])('TRUST_PROXY %j is parsed as %j', (text, expected) => expect(parseTrustProxy(text)).toBe(expected));

test.each([
  ['*', true],
  ['https://app.example', true],
  ['https://app.example/', false],
  ['app.example', false],
])('whether %s is an origin: %s', (text, expected) => expect(isOrigin(text)).toBe(expected));
