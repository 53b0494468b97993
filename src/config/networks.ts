/** Parses networks, proxies and origins in variables. Pure. */

import { BlockList, isIP, isIPv6 } from 'node:net';

/** The parts of `items` that are neither an address nor `address/bits`. */
export function invalidNetworks(items: readonly string[]): string[] {
  return items.filter((item) => !addNetwork(new BlockList(), item));
}

/** A list of valid networks. */
export function toBlockList(items: readonly string[]): BlockList {
  const list = new BlockList();
  for (const item of items) addNetwork(list, item);
  return list;
}

/** Whether `text` is `*` or an origin such as https://app.example. */
export function isOrigin(text: string): boolean {
  return text === '*' || (URL.canParse(text) && new URL(text).origin === text);
}

const PROXY_RANGES = ['loopback', 'linklocal', 'uniquelocal'];

/** off, on, a number of proxies, or addresses, as in Express's `trust proxy`; undefined for anything else. */
export function parseTrustProxy(value: string): boolean | number | string | undefined {
  if (['off', 'false', '0'].includes(value)) return false;
  if (['on', 'true'].includes(value)) return true;
  if (/^\d+$/.test(value)) return Number(value);
  const addresses = value.split(',').map((part) => part.trim());
  const invalid = invalidNetworks(addresses.filter((address) => !PROXY_RANGES.includes(address)));
  return invalid.length === 0 ? value : undefined;
}

/** Adds `address` or `address/bits`; false when `text` is neither. */
function addNetwork(list: BlockList, text: string): boolean {
  const [address = '', bits, ...rest] = text.split('/');
  const family = isIPv6(address) ? 'ipv6' : 'ipv4';
  const maxBits = family === 'ipv6' ? 128 : 32;
  const prefix = bits === undefined ? maxBits : /^\d+$/.test(bits) ? Number(bits) : NaN;
  if (isIP(address) === 0 || rest.length > 0 || !(prefix >= 0 && prefix <= maxBits)) return false;
  list.addSubnet(address, prefix, family);
  return true;
}
