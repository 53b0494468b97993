import { sampling } from '../../../../src/dialects/shared/fields.js';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { remoteOptions } from '../../../../src/config/file/remote-options.js';
import { schemaText } from '../../../../src/config/documents.js';
import { parseConfigFile, readConfigFileSync } from '../../../../src/config/file/load.js';
import { ROOT } from '../../../../src/config/root.js';
import { emptyFolder } from '../../../support/folder.js';
import { local, parse, remote } from './helpers.js';

const folder = emptyFolder();

test('fields that are not set have their defaults', () => {
  expect(
    parse({ models: { a: local() }, remotes: { b: remote() }, groups: { c: { members: ['a'] } } }),
  ).toEqual({
    models: {
      a: {
        ...{ path: 'hf:org/repo', workers: 1, context: 4096 },
        ...{ gpus: [], extraArgs: [], lora: [], aliases: [] },
      },
    },
    remotes: {
      b: {
        ...{ baseUrl: 'http://box:8000', model: 'm', kind: 'openai', maxTokensField: 'max_tokens' },
        task: 'chat',
        timeouts: { connectSecs: 5, firstTokenSecs: 60, tokenSecs: 15, totalSecs: 600 },
        retries: { attempts: 2, budgetSecs: 5 },
        aliases: [],
      },
    },
    groups: { c: { members: ['a'], fallback: [], firstTokenSecs: 120, aliases: [] } },
    tenants: {},
  });
});

/** Reads and parses a file with this text. */
function load(text: string) {
  const file = join(folder, 'lmserv.config.json');
  writeFileSync(file, text);
  return parseConfigFile(readConfigFileSync(file).text, file);
}

test('paths are relative to the file', () => {
  const path = join(folder, 'm.gguf');
  writeFileSync(path, '');
  const { models } = load(JSON.stringify({ models: { a: { path: 'm.gguf', binPath: './m.gguf' } } }));
  expect(models.a).toMatchObject({ path, binPath: path });
});

test('a byte order mark is ignored', () => {
  const { remotes } = load(`\uFEFF${JSON.stringify({ remotes: { a: remote() } })}`);
  expect(Object.keys(remotes)).toEqual(['a']);
});

const models = { a: local() };

test.each([
  [{}, 'needs at least one entry in "models" or "remotes"'],
  [[], 'Invalid input: expected object, received array'],
  [{ models, modles: {} }, 'modles: unknown field'],
  [{ models: { a: local({ worker: 2 }) } }, 'models.a.worker: unknown field'],
  [{ models: { a: {} } }, 'models.a.path: is required'],
  [{ models: { a: { path: '' } } }, 'models.a.path: must not be empty'],
  [{ models: { a: { path: 'gone.gguf' } } }, 'models.a.path: there is no file gone.gguf'],
  [{ models: { a: local({ binPath: 'gone' }) } }, 'models.a.binPath: there is no file gone'],
  ...[0, '4', 1.5].map((workers): [unknown, string] => [
    { models: { a: local({ workers }) } },
    'models.a.workers: must be a whole number from 1 to 256',
  ]),
  [{ models: { a: local({ gpus: '0' }) } }, 'models.a.gpus: must be a list'],
  [{ models: { a: local({ gpus: [0] }) } }, 'models.a.gpus.0: must be a text'],
  [{ models: { a: local({ extraArgs: ['-x', 1] }) } }, 'models.a.extraArgs.1: must be a text'],
  [{ models: { a: local({ price: { prompt: 1 } }) } }, 'models.a.price.completion: is required'],
  [
    { models: { a: local({ price: { prompt: -1, completion: 0 } }) } },
    'models.a.price.prompt: must be a number from 0 to 1000000 with at most nine decimals',
  ],
  ...[1e300, 1e-10, 5e-324, 1_000_000.1].map((completion): [unknown, string] => [
    { models: { a: local({ price: { prompt: 0, completion } }) } },
    'models.a.price.completion: must be a number from 0 to 1000000 with at most nine decimals',
  ]),
  [
    { models: { '../a': local() } },
    'models.../a: not a valid name: must be 1 to 128 letters, digits or . _ - : / @ and begin with a letter or digit',
  ],
  [{ remotes: { a: { model: 'm' } } }, 'remotes.a.baseUrl: is required'],
  ...['http://u:p@box', 'http://box?key=1', 'box:8000'].map((baseUrl): [unknown, string] => [
    { remotes: { a: remote({ baseUrl }) } },
    'remotes.a.baseUrl: must be an http: or https: URL without user, query or fragment',
  ]),
  [{ remotes: { a: remote({ kind: 'vllm' }) } }, 'remotes.a.kind: must be "llama" or "openai"'],
  [
    { remotes: { a: remote({ timeouts: { tokenSecs: 0 } }) } },
    'remotes.a.timeouts.tokenSecs: must be a number of seconds, more than 0 and at most 86400',
  ],
  [{ models, groups: { g: { members: [] } } }, 'groups.g.members: must name at least one model or remote'],
  [{ models, groups: { g: { members: ['x'] } } }, 'groups.g.members.0: there is no model named "x"'],
  [
    { models, groups: { g: { members: ['a'], fallback: ['x'] } } },
    'groups.g.fallback.0: there is no group named "x"',
  ],
  [
    { models, groups: { g: { members: ['a'], fallback: ['h'] }, h: { members: ['a'], fallback: ['g'] } } },
    'groups.h.fallback.0: refers back to itself: g → h → g',
  ],
  [{ models, remotes: { a: remote() } }, 'remotes.a: duplicate name "a", already used by models.a'],
  [{ models, groups: { a: { members: ['a'] } } }, 'groups.a: duplicate name "a", already used by models.a'],
  [
    { models: { a: local({ aliases: ['b'] }), b: local() } },
    'models.a.aliases.0: duplicate name "b", already used by models.b',
  ],
  [
    { models: { a: local({ aliases: ['x', 'x'] }) } },
    'models.a.aliases.1: duplicate name "x", already used by models.a.aliases.0',
  ],
  [
    { models: { a: local({ lora: [{ path: 'gone.gguf' }] }) } },
    'models.a.lora.0.path: there is no file gone.gguf',
  ],
  [
    { models: { a: local({ sampling: { temperature: 3 } }) } },
    'models.a.sampling.temperature: must be a number from 0 to 2',
  ],
  [{ models: { a: local({ sampling: { max_tokens: 3 } }) } }, 'models.a.sampling.max_tokens: unknown field'],
  [
    { models: { a: local({ aliases: [7] }) } },
    'models.a.aliases.0: must be a name, or an object with a name and its defaults',
  ],
  [
    { models: { a: local({ aliases: [{ name: 'x', sampling: { top_p: 2 } }] }) } },
    'models.a.aliases.0.sampling.top_p: must be a number from 0 to 1',
  ],
  [
    { models: { a: local({ aliases: [{ name: 'x', stop: 'y' }] }) } },
    'models.a.aliases.0.stop: unknown field',
  ],
  [
    { models: { a: local({ aliases: [{ name: 'b' }] }), b: local() } },
    'models.a.aliases.0: duplicate name "b", already used by models.b',
  ],
  [{ models, default: 'x' }, 'default: there is no model or group named "x"'],
  [{ models, tenants: { t: { budget: { week: 1 } } } }, 'tenants.t.budget.week: unknown field'],
  [{ models, maxTokens: 0 }, 'maxTokens: must be a whole number from 1 to 16777216'],
])('%j is refused: %s', (content, message) => {
  expect(() => parse(content)).toThrow(
    expect.objectContaining({ name: 'ConfigFileError', message: `lmserv.config.json: ${message}` }),
  );
});

test('aliases are names, or objects with defaults of their own', () => {
  const { models } = parse({
    models: { a: local({ system: 'Hi', aliases: ['x', { name: 'y', sampling: { top_k: 3 } }] }) },
  });
  expect(models.a).toMatchObject({
    system: 'Hi',
    aliases: [{ name: 'x' }, { name: 'y', sampling: { top_k: 3 } }],
  });
});

test('each default for sampling is a field that requests may have', () => {
  const fields = Object.keys(
    JSON.parse(schemaText()).properties.models.additionalProperties.properties.sampling.properties as object,
  );
  expect(fields.length).toBeGreaterThan(5);
  expect(Object.keys(sampling)).toEqual(expect.arrayContaining(fields));
});

test('all problems are reported at once', () => {
  const bad = { models: { a: local({ slots: 0, gpus: [0] }), b: { path: 'gone.gguf', x: 1 } } };
  const message = [
    'lmserv.config.json: models.a.slots: must be a whole number from 1 to 256',
    'lmserv.config.json: models.a.gpus.0: must be a text',
    'lmserv.config.json: models.b.x: unknown field',
  ].join('\n');
  expect(() => parse(bad)).toThrow(expect.objectContaining({ message }));
  const missing = { models: { a: { path: 'gone.gguf', binPath: 'gone' } }, default: 'x' };
  expect(() => parse(missing)).toThrow(/default: [^]*models\.a\.path: [^]*models\.a\.binPath: /);
});

test('the error has the field and the reason', () => {
  const issue = { path: ['models', 'a', 'slots'], message: 'must be a whole number from 1 to 256' };
  const issues = [expect.objectContaining(issue)];
  expect(() => parse({ models: { a: local({ slots: 0 }) } })).toThrow(expect.objectContaining({ issues }));
});

test.each([
  ['{\n  "models": {,}\n}', /is not valid JSON( \(line 2, column 14\))?$/],
  ['{"models": ', /is not valid JSON/],
  ['', /is not valid JSON/],
])('%j is refused with the position, and not quoted', (text, message) => {
  expect(() => parseConfigFile(text, 'lmserv.config.json')).toThrow(message);
});

test('a missing file is named', () => {
  const read = () => readConfigFileSync(join(folder, 'none.json'));
  expect(read).toThrow('none.json: cannot be read (ENOENT)');
});

describe('keys', () => {
  const CANARY = 'sk-canary-51c7';

  test.each([
    [{ apiKey: CANARY }, 'apiKey: unknown field; name the variable that holds the key in apiKeyEnv'],
    [
      { apiKeyEnv: CANARY },
      'apiKeyEnv: must be the name of an environment variable such as OPENAI_API_KEY, not the key itself',
    ],
    [
      { baseUrl: `http://u:${CANARY}@box` },
      'baseUrl: must be an http: or https: URL without user, query or fragment',
    ],
  ])('do not belong in the file, and errors do not show them (%#)', (fields, message) => {
    const error = expect.objectContaining({ message: `lmserv.config.json: remotes.a.${message}` });
    expect(() => parse({ remotes: { a: remote(fields) } })).toThrow(error);
    expect(message).not.toContain(CANARY);
  });

  test('come from the variable in apiKeyEnv', () => {
    const { a, b } = parse({ remotes: { a: remote({ apiKeyEnv: 'FAR_KEY' }), b: remote() } }).remotes;
    const lookup = (name: string) => (name === 'FAR_KEY' ? ' the-key\n' : 'another');
    expect(remoteOptions('a', a!, lookup)).toMatchObject({
      ...{ name: 'a', apiKey: 'the-key', apiKeyEnv: 'FAR_KEY' },
      timeouts: { connectMs: 5_000, firstTokenMs: 60_000, tokenMs: 15_000, totalMs: 600_000 },
      retries: { attempts: 2, budgetMs: 5_000 },
    });
    expect(remoteOptions('b', b!, lookup).apiKey).toBeUndefined();
  });
});

describe.each(['models-and-groups.md', 'scaling.md'])('docs/%s', (page) => {
  const text = readFileSync(join(ROOT, 'docs', page), 'utf8');
  const examples = [...text.matchAll(/```json\n(.*?)```/gs)].map((match) => match[1]!);

  test('has examples, and they are valid', () => {
    expect(examples.length).toBeGreaterThan(0);
    for (const example of examples) {
      const json = JSON.parse(example) as { models?: Record<string, { path: string; binPath?: string }> };
      // The models' files do not exist here.
      for (const model of Object.values(json.models ?? {})) {
        model.path = 'hf:org/repo';
        delete model.binPath;
      }
      expect(() => parse(json)).not.toThrow();
    }
  });

  test('links to pages that exist', () => {
    const links = [...text.matchAll(/\]\((?!https?:|#)([^)#]+)/g)].map((match) => match[1]!);
    expect(links.filter((link) => !existsSync(resolve(ROOT, 'docs', link)))).toEqual([]);
  });
});

test('docs/models-and-groups.md names every field', () => {
  const text = readFileSync(join(ROOT, 'docs/models-and-groups.md'), 'utf8');
  const names = new Set<string>();
  JSON.parse(schemaText(), (_key, value: unknown) => {
    const properties = (value as { properties?: object } | null)?.properties;
    for (const name of Object.keys(properties ?? {})) names.add(name);
    return value;
  });
  expect(names.size).toBeGreaterThan(40);
  expect(
    [...names].filter((name) => !new RegExp(`[\`".]\\$?${name.replace('$', '')}\\b`).test(text)),
  ).toEqual([]);
});
