import { suite } from './jest.config.mjs';

/**
 * Other people's client libraries on the demo model. Apart from `npm test`, because they need Node 22 and have dependencies
 * of their own, in `test/clients`.
 */
const clients = suite('clients');
const openai = '<rootDir>/test/clients/node_modules/openai';

export default {
  ...clients,
  testMatch: ['<rootDir>/test/clients/*.test.mjs', '<rootDir>/test/live/{openai-sdk,responses}.test.ts'],
  moduleNameMapper: {
    ...clients.moduleNameMapper,
    // The same tests as with the version that still runs on Node 20.
    '^openai$': `${openai}/index.mjs`,
    '^openai/(helpers/zod|core/error)$': `${openai}/$1.mjs`,
  },
  testTimeout: 60_000,
};
