import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { unsupportedNode } from '../../../src/install/early/node-version.mjs';
import { newFolder } from '../../support/folder.js';

const root = newFolder();
writeFileSync(join(root, 'package.json'), JSON.stringify({ engines: { node: '>=20.19.0' } }));

test.each(['20.19.0', '20.19.1', '20.20.2', '22.0.0', '24.1.0'])('Node %s is supported', (version) => {
  expect(unsupportedNode(root, version)).toBeUndefined();
});

test.each(['20.18.9', '18.20.0', '19.99.0'])('Node %s is too old, and one line says so', (version) => {
  expect(unsupportedNode(root, version)).toMatch(
    new RegExp(`^LMServ needs Node 20\\.19\\.0 or later; this is ${version}.*$`),
  );
});
