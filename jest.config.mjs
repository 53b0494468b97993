/**
 * Four suites, from fast to real: unit (pure logic), http (the app over a fake backend), process (the pool over a
 * fake llama), live (everything over real llama.cpp and the demo model).
 */
export const suite = (name, extra = {}) => ({
  displayName: name,
  testEnvironment: 'node',
  testMatch: [`<rootDir>/test/${name}/**/*.test.ts`],
  extensionsToTreatAsEsm: ['.ts'],
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      { jsc: { target: 'es2022', parser: { syntax: 'typescript' } }, module: { type: 'es6' } },
    ],
  },
  // Sources import each other by the name they have once compiled.
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': '$1' },
  ...extra,
});

export default {
  projects: [suite('unit'), suite('http'), suite('process'), suite('live')],
  testTimeout: 60_000,
};
