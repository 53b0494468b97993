import { createTypeScriptImportResolver } from 'eslint-import-resolver-typescript';
import { importX } from 'eslint-plugin-import-x';
import tseslint from 'typescript-eslint';

/**
 * Which folders each folder may import, from the bottom up: an import never points to a folder further down this list.
 * `docs/architecture.md` has the same table in words.
 */
const ALLOWED = {
  'src/wire': [],
  'src/observe': ['src/wire/address.ts'],
  workers: ['src/wire'],
  'src/pool': ['workers', 'src/observe', 'src/wire/images.ts'],
  'src/slots': ['workers', 'src/install/early', 'src/observe', 'src/pool'],
  'src/memory': ['src/observe', 'src/pool'],
  'src/backends': ['workers', 'src/wire', 'src/observe', 'src/pool'],
  'src/generate': ['src/observe'],
  'src/dialects': ['src/wire'],
  'src/files': [],
  'src/install/early': [],
  'src/accounts': ['src/files', 'src/install/early'],
  'src/config': [
    'src/accounts/usage/budget.ts',
    'src/backends/remote/options.ts',
    'src/accounts/keys/rate.ts',
    'src/dialects',
    'src/files',
    'src/generate/groups.ts',
    'src/wire/address.ts',
  ],
  'src/http': ['src/dialects', 'src/generate/flow.ts', 'src/generate/trace.ts', 'src/observe', 'src/wire'],
  'src/install': ['workers', 'src/config', 'src/files'],
  'src/catalogue': ['src/config', 'src/install/models', 'src/observe'],
  'src/app': [
    'workers',
    'src/accounts',
    'src/backends',
    'src/catalogue',
    'src/config',
    'src/dialects',
    'src/files',
    'src/generate',
    'src/http',
    'src/install',
    'src/memory',
    'src/observe',
    'src/pool',
    'src/slots',
    'src/wire/address.ts',
  ],
  'src/doctor': [
    'workers',
    'src/accounts',
    'src/catalogue',
    'src/config',
    'src/files',
    'src/install',
    'src/observe/gpus.ts',
    'src/wire/address.ts',
  ],
  'src/client': ['src/wire'],
  'src/commands': ['workers', 'src'],
  src: ['workers'],
  scripts: ['src/install/early'],
  'test/harness': ['workers', 'src'],
  bench: ['workers', 'src', 'test/harness'],
  test: ['workers', 'src', 'bench', 'scripts'],
};

/** Modules every folder may import. */
const COMMON = ['src/compact.ts', 'src/contract.ts', 'src/errors.ts', 'src/in-turn.ts', 'src/time.ts'];

const FOLDERS = ['src', 'workers', 'scripts', 'test', 'bench'];

/** A zone forbids `target` all of `from` but the exceptions, which are paths inside `from`. */
const zones = Object.entries(ALLOWED).flatMap(([target, allowed]) =>
  FOLDERS.filter((from) => !allowed.includes(from) && from !== target).map((from) => ({
    target: `./${target}`,
    from: `./${from}`,
    except: [target, ...allowed, ...COMMON]
      .filter((path) => within(path, from))
      .map((path) => `./${path.slice(from.length + 1)}`),
    message: `${target} may not import this: see the table in docs/architecture.md.`,
  })),
);

function within(path, folder) {
  return path === folder || path.startsWith(`${folder}/`);
}

const ENVIRONMENT = {
  selector: "MemberExpression[object.name='process'][property.name='env']",
  message: 'Only src/config reads the environment.',
};

const WALL_CLOCK = ["MemberExpression[object.name='Date'][property.name='now']", '[callee.name="Date"]'].map(
  (selector) => ({
    selector,
    message: 'The wall clock may jump: measure times with performance.now(). Only dates are read from it.',
  }),
);

const PRIVATE = {
  selector:
    ':matches(TSParameterProperty, PropertyDefinition, MethodDefinition[kind!="constructor"])[accessibility="private"]',
  message: 'Private members are #private.',
};

/** Files that read the date: for clients, for the usage of a day, for headers that hold one. */
const DATES = [
  'src/dialects/anthropic/models.ts',
  'src/dialects/ollama/models.ts',
  'src/dialects/ollama/reply.ts',
  'src/app/backends.ts',
  'src/dialects/responses/output.ts',
  'src/http/generate-handler.ts',
  'src/http/ollama-routes.ts',
  'src/http/rate-limit.ts',
  'src/backends/remote/connection.ts',
  'src/client/http.ts',
  'src/accounts/keys/manage.ts',
  'src/accounts/usage/accounting.ts',
  'src/accounts/usage/day.ts',
  'src/accounts/usage/store.ts',
  'src/slots/store.ts',
];

export default tseslint.config(
  { ignores: ['dist/', 'node_modules/', 'coverage/', 'vendor/llama.cpp/', 'bench/results/'] },
  {
    files: ['**/*.ts'],
    extends: [...tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    plugins: { 'import-x': importX },
    settings: { 'import-x/resolver-next': [createTypeScriptImportResolver({ project: 'tsconfig.json' })] },
    rules: {
      'import-x/no-cycle': 'error',
      'import-x/no-restricted-paths': ['error', { basePath: import.meta.dirname, zones }],
      '@typescript-eslint/no-unused-vars': [
        'error',
        { argsIgnorePattern: '^_', varsIgnorePattern: '^_', ignoreRestSiblings: true },
      ],
      '@typescript-eslint/only-throw-error': ['error', { allowThrowingUnknown: true }],
      '@typescript-eslint/prefer-promise-reject-errors': 'off',
      '@typescript-eslint/require-await': 'off',
    },
  },
  {
    files: ['scripts/**/*.mjs', 'src/install/early/*.mjs'],
    plugins: { 'import-x': importX },
    rules: {
      'import-x/no-cycle': 'error',
      'import-x/no-restricted-paths': ['error', { basePath: import.meta.dirname, zones }],
    },
  },
  // A later entry's options take the place of an earlier one's.
  {
    files: ['src/**/*.ts', 'workers/**/*.ts'],
    rules: { 'no-restricted-syntax': ['error', PRIVATE, ENVIRONMENT, ...WALL_CLOCK] },
  },
  { files: DATES, rules: { 'no-restricted-syntax': ['error', PRIVATE, ENVIRONMENT] } },
  {
    files: ['src/config/load.ts', 'src/client/**/*.ts', 'src/commands/**/*.ts', 'src/install/**/*.ts'],
    ignores: DATES,
    rules: { 'no-restricted-syntax': ['error', PRIVATE, ...WALL_CLOCK] },
  },
  {
    files: ['test/**/*.ts', 'bench/**/*.ts'],
    rules: { 'no-restricted-syntax': ['error', PRIVATE] },
  },
  {
    files: ['src/**/*.ts', 'workers/**/*.ts'],
    ignores: ['src/cli.ts'],
    rules: {
      'no-restricted-properties': [
        'error',
        { object: 'process', property: 'exit', message: 'Only src/cli.ts ends the process.' },
      ],
    },
  },
  {
    files: ['test/**/*.ts'],
    rules: {
      // Log lines and replies are read as they come.
      '@typescript-eslint/no-explicit-any': 'off',
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unsafe-argument': 'off',
      '@typescript-eslint/no-unsafe-call': 'off',
      '@typescript-eslint/no-unsafe-return': 'off',
    },
  },
);
