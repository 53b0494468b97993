/** That a key is compared with every other, whichever it is: counted on the real function, not timed. */

import * as crypto from 'node:crypto';
import { expect, jest, test } from '@jest/globals';
import { keyText, sha256, temporaryFolder, writePrivate } from './helpers.js';

const compare = jest.fn(crypto.timingSafeEqual);
jest.unstable_mockModule('node:crypto', () => ({ ...crypto, timingSafeEqual: compare }));
const { Keyring } = await import('../../../src/keys/keyring.js');

test.each(['first', 'middle', 'last', 'API', 'nobody', ''])('%j is compared with all', (presented) => {
  const folder = temporaryFolder();
  try {
    const file = `${folder.path}/keys.json`;
    writePrivate(
      file,
      keyText(...['first', 'middle', 'last'].map((name) => ({ name, sha256: sha256(name) }))),
    );
    const ring = new Keyring({ apiKey: 'API', file });
    compare.mockClear();
    const caller = ring.authenticate(presented);
    const known = { first: 'first', middle: 'middle', last: 'last', API: 'default' } as Record<
      string,
      string
    >;
    expect(caller?.name).toBe(known[presented]);
    expect(compare).toHaveBeenCalledTimes(4);
    const lengths = compare.mock.calls.flat().map((bytes) => bytes.byteLength);
    expect(new Set(lengths)).toEqual(new Set([32]));
  } finally {
    folder.remove();
  }
});
