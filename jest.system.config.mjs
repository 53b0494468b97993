import base from './jest.config.mjs';

/** The units against systemd's own judgement. Apart from `npm test`, because it needs the programs of systemd. */
const [unit] = base.projects;

export default {
  ...unit,
  displayName: 'system',
  testMatch: ['<rootDir>/test/system/**/*.test.ts'],
  testTimeout: 60_000,
};
