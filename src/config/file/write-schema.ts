/** Writes `lmserv.schema.json` into the current folder: `node dist/src/config/file/write-schema.js`. */

import { writeFileSync } from 'node:fs';
import { schemaText } from './json-schema.js';

writeFileSync('lmserv.schema.json', schemaText());
