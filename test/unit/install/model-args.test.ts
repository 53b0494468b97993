import { parseModelArgs } from '../../../src/commands/model.js';

test('a model, a name and a checksum', () => {
  const sha256 = 'AB'.repeat(32);
  expect(parseModelArgs(['org/repo', '--name', 'mine', '--sha256', sha256])).toEqual({
    spec: 'org/repo',
    name: 'mine',
    sha256: sha256.toLowerCase(),
  });
});

test.each([[[]], [['a/b', 'c/d']], [['a/b', '--sha256', 'zz']], [['a/b', '--bogus']]])(
  '%j gets the usage',
  (args) => {
    expect(() => parseModelArgs(args)).toThrow('npm run model -- <org/repo[:quant] | https-url | path>');
  },
);

test('help is no error', () => {
  expect(parseModelArgs(['--help'])).toBeUndefined();
});
