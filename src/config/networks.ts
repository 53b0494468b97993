/** Parses networks, proxies, origins and host names in variables. Pure. */

import { BlockList, isIP, isIPv6 } from 'node:net';
import { domainToASCII } from 'node:url';

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

/** Whether `text` is `*` or an origin as browsers send it, of a page or an app, whose host may begin with `*.`. */
export function isOrigin(text: string): boolean {
  if (text === '*') return true;
  const one = text.replace('://*.', '://x.');
  if (/^https?:/i.test(one)) return !one.includes('*') && URL.canParse(one) && new URL(one).origin === one;
  return /^[a-z][a-z\d+.-]*:\/\/[\w.-]+(:\d+)?$/.test(one);
}

/** Whether `text` is `*`, or a name or address without scheme and port; a name may begin with `*.`. */
export function isHost(text: string): boolean {
  const one = text.replace(/^\*\./, '');
  return text === '*' || isIP(one) !== 0 || (/^[^*:/?#@[\]\s]+$/.test(one) && domainToASCII(one) !== '');
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
