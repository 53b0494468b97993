import base from './jest.config.mjs';

/**
 * Other people's client libraries on the demo model. Apart from `npm test`, because they need Node 22 and have dependencies
 * of their own, in `test/clients`.
 */
const [unit] = base.projects;

export default {
  ...unit,
  displayName: 'clients',
  testMatch: ['<rootDir>/test/clients/*.test.mjs'],
  testTimeout: 60_000,
};
