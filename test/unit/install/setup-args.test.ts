import { parseSetupArgs } from '../../../src/commands/setup.js';
import { defaultJobs } from '../../../src/install/llama/setup.js';

test('without options the flavour is found out', () => {
  expect(parseSetupArgs([], '/clone')).toMatchObject({ root: '/clone', gpu: 'auto', force: false });
});

test('flavour, jobs, tarball and force', () => {
  expect(
    parseSetupArgs(['--gpu', 'cuda', '--jobs', '3', '--tarball', '/a.tgz', '--force'], '/clone'),
  ).toEqual({
    root: '/clone',
    gpu: 'cuda',
    jobs: 3,
    tarball: '/a.tgz',
    force: true,
  });
});

test.each([
  [['--gpu', 'rocm'], '--gpu rocm: one of auto, cpu, cuda, vulkan, metal'],
  [['--jobs', '0'], '--jobs 0: a number from 1'],
  [['--jobs', 'many'], '--jobs many: a number from 1'],
  [['--what'], "Unknown option '--what'"],
])('%j is refused', (args, message) => {
  expect(() => parseSetupArgs(args, '/clone')).toThrow(message);
});

test('jobs are bounded by cores and by memory, and are never none', () => {
  expect([defaultJobs(2, 20e9), defaultJobs(16, 6.1e9), defaultJobs(8, 0.5e9)]).toEqual([2, 4, 1]);
});
