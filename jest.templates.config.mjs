import base from './jest.config.mjs';

/** The chat templates of real models. Apart from `npm test`, because all of them take minutes. */
const [unit] = base.projects;

export default {
  ...unit,
  displayName: 'templates',
  testMatch: ['<rootDir>/test/templates/**/*.test.ts'],
  testTimeout: 120_000,
};
