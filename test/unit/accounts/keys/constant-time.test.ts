/** Each key costs one comparison, whichever it is and however many there are: counted, not timed. */

import * as crypto from 'node:crypto';
import { jest } from '@jest/globals';
import { emptyFolder } from '../../../support/folder.js';
import { keyText, sha256, writePrivate } from './helpers.js';

const compare = jest.fn(crypto.timingSafeEqual);
jest.unstable_mockModule('node:crypto', () => ({ ...crypto, timingSafeEqual: compare }));
const { Keyring } = await import('../../../../src/accounts/keys/keyring.js');

const file = `${emptyFolder()}/keys.json`;
const NAMES = ['first', 'middle', 'last', ...Array.from({ length: 997 }, (_, index) => `key-${index}`)];

test.each(['first', 'middle', 'last', 'key-500', 'API', 'nobody', ''])(
  'the key %j is compared once',
  (key) => {
    writePrivate(file, keyText(...NAMES.map((name) => ({ name, sha256: sha256(name) }))));
    const ring = new Keyring({ apiKey: 'API', file });
    compare.mockClear();
    const expected = key === 'API' ? 'default' : NAMES.find((name) => name === key);
    expect(ring.authenticate(key)?.name).toBe(expected);
    expect(compare).toHaveBeenCalledTimes(1);
    expect(compare.mock.calls.flat().map((bytes) => bytes.byteLength)).toEqual([32, 32]);
  },
);
