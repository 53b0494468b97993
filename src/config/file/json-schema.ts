import { z } from 'zod';
import { fileSchema } from './schema.js';

/** The text of `lmserv.schema.json`: the configuration file's form, for editors. */
export function schemaText(): string {
  const { $schema, ...rest } = z.toJSONSchema(fileSchema, { io: 'input', target: 'draft-7' });
  return `${JSON.stringify({ $schema, title: 'lmserv.config.json', ...rest }, null, 2)}\n`;
}
