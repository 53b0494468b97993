import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { unsupportedNode } from '../../../src/install/early/node-version.mjs';

let root: string;
beforeEach(() => {
  root = mkdtempSync(path.join(tmpdir(), 'lmserv-node-'));
  writeFileSync(path.join(root, 'package.json'), JSON.stringify({ engines: { node: '>=20.19.0' } }));
});
afterEach(() => rmSync(root, { recursive: true }));

test.each(['20.19.0', '20.19.1', '20.20.2', '22.0.0', '24.1.0'])('Node %s will do', (version) => {
  expect(unsupportedNode(root, version)).toBeUndefined();
});

test.each(['20.18.9', '18.20.0', '19.99.0'])('Node %s is too old, and one line says so', (version) => {
  expect(unsupportedNode(root, version)).toMatch(
    new RegExp(`^LMServ needs Node 20\\.19\\.0 or later; this is ${version}.*$`),
  );
});
