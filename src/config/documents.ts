/** The files generated from the table of variables and from the configuration file's schema. */

import { z } from 'zod';
import { fileSchema } from './file/schema.js';
import { SECTIONS, type Notes, type Row } from './variables.js';

/** Variables that the client library reads where the client runs. */
export const CLIENT_VARIABLES: Readonly<Record<string, Notes>> = {
  LLM_PROVIDER: { doc: '`lan`, `openai`, `local` or `stub`.', byDefault: 'lan' },
  LLM_BASE_URL: { doc: 'The server.', byDefault: 'http://localhost:8000' },
  LLM_URL: {
    doc: 'The raw route, for `local`.',
    byDefault: 'LLM_BASE_URL/llm',
    sample: 'http://localhost:8000/llm',
  },
  LLM_API_KEY: { doc: 'Sent as Bearer; none is sent if empty.' },
  LLM_MODEL: { doc: 'The model.', byDefault: 'default' },
  LLM_TIMEOUT_SECS: { doc: 'Max time for a request.', byDefault: '60' },
  LLM_PROVIDER_FALLBACK: {
    doc: 'The provider to use when the first one fails; `none` disables this.',
    byDefault: 'stub',
  },
  OPENAI_API_KEY: { doc: 'The key for `openai` as a fallback.' },
};

/** By the section of `docs/configuration.md`: its title in `.env.example`, and its variables. */
const TITLED: readonly [section: string, title: string, rows: Readonly<Record<string, Notes>>][] = [
  ['access', 'listening and access', SECTIONS.access],
  ['model', 'the model and its workers', SECTIONS.model],
  ['limits', 'limits', SECTIONS.limits],
  ['output', 'output', SECTIONS.output],
  ['llm-connect', 'llm-connect: defaults of `lmserv serve`, and profiles', SECTIONS['llm-connect']],
  ['client', 'the client library and `lmserv ask`: read where the client runs', CLIENT_VARIABLES],
];

/** The contents of each generated file by path. @param read returns the current text of a file. */
export function generateDocuments(read: (path: string) => string): Record<string, string> {
  return {
    '.env.example': envExample(),
    'docs/configuration.md': TITLED.reduce(insertTable, read('docs/configuration.md')),
    'lmserv.schema.json': schemaText(),
  };
}

function envExample(): string {
  const sections = TITLED.map(([, title, rows]) => {
    const lines = Object.entries(rows).flatMap(([name, row]) => exampleLines(name, row));
    return `# -- ${title}\n${lines.join('\n')}\n`;
  });
  return `# LMServ's settings. Copy to .env and uncomment what you change; the environment takes precedence over
# this file. docs/configuration.md has the details. Made by npm run generate: edit src/config/variables.ts.

${sections.join('\n')}`;
}

/** The description, and the variable with its default or a sample. */
function exampleLines(name: string, { doc, sample, ...row }: Notes): string[] {
  const byDefault = defaultText({ ...row });
  const note =
    sample === undefined ? '' : byDefault === '' ? ' (not set by default)' : ` (default: ${byDefault})`;
  return [...(doc ? [`# ${withoutLinks(doc)}${note}`] : []), `# ${name}=${sample ?? byDefault}`];
}

function withoutLinks(markdown: string): string {
  return markdown.replace(/\[[^\]]+\]\(([^)]+)\)/g, 'docs/$1');
}

/** The default as an operator would write it; empty when there is none. */
function defaultText(row: Notes & Partial<Row>): string {
  if (row.byDefault !== undefined || row.schema === undefined) return row.byDefault ?? '';
  const { default: value = '' } = z.toJSONSchema(row.schema, { io: 'input', unrepresentable: 'any' });
  const parts = [value].flat();
  return parts.map((part) => (typeof part === 'string' ? part : JSON.stringify(part))).join();
}

/** Inserts the section's table between its markers. */
function insertTable(page: string, [section, , rows]: (typeof TITLED)[number]): string {
  const lines = Object.entries(rows).map(([name, row]) => {
    const sentences = [row.doc, row.more].filter((text) => text !== undefined).join(' ');
    return `| ${name} | ${defaultText(row) || '–'} | ${sentences} |`;
  });
  const [begin, end] = [`<!-- ${section}: made by npm run generate -->`, `<!-- /${section} -->`];
  const [before, after] = [page.indexOf(begin), page.indexOf(end)];
  if (before < 0 || after < before) throw new Error(`docs/configuration.md has no ${begin} … ${end}`);
  const table = ['| variable | default | what it does |', '|---|---|---|', ...lines].join('\n');
  return `${page.slice(0, before)}${begin}\n\n${table}\n\n${page.slice(after)}`;
}

/** The JSON schema of the configuration file, for editors. */
export function schemaText(): string {
  const { $schema, ...rest } = z.toJSONSchema(fileSchema, { io: 'input', target: 'draft-7' });
  return `${JSON.stringify({ $schema, title: 'lmserv.config.json', ...rest }, null, 2)}\n`;
}
