/** That one comparison is made whichever key is presented and however many there are: counted, not timed. */

import * as crypto from 'node:crypto';
import { expect, jest, test } from '@jest/globals';
import { keyText, sha256, temporaryFolder, writePrivate } from './helpers.js';

const compare = jest.fn(crypto.timingSafeEqual);
jest.unstable_mockModule('node:crypto', () => ({ ...crypto, timingSafeEqual: compare }));
const { Keyring } = await import('../../../../src/accounts/keys/keyring.js');

const NAMES = ['first', 'middle', 'last', ...Array.from({ length: 997 }, (_, index) => `key-${index}`)];

test.each(['first', 'middle', 'last', 'key-500', 'API', 'nobody', ''])(
  'the key %j is compared once',
  (presented) => {
    const folder = temporaryFolder();
    try {
      const file = `${folder.path}/keys.json`;
      writePrivate(file, keyText(...NAMES.map((name) => ({ name, sha256: sha256(name) }))));
      const ring = new Keyring({ apiKey: 'API', file });
      compare.mockClear();
      const caller = ring.authenticate(presented);
      const expected = presented === 'API' ? 'default' : NAMES.find((name) => name === presented);
      expect(caller?.name).toBe(expected);
      expect(compare).toHaveBeenCalledTimes(1);
      expect(compare.mock.calls.flat().map((bytes) => bytes.byteLength)).toEqual([32, 32]);
    } finally {
      folder.remove();
    }
  },
);
