/** `npm run generate`: writes the files generated from the table of variables into the current folder. */

import { readFileSync, writeFileSync } from 'node:fs';
import { generateDocuments } from './documents.js';

const documents = generateDocuments((path) => readFileSync(path, 'utf8'));
for (const [path, text] of Object.entries(documents)) writeFileSync(path, text);
