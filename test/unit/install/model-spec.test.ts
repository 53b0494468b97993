import { parseModelSpec, specKey } from '../../../src/install/models/spec.js';

const hub = (repo: string, choice?: string) => ({ kind: 'hub', repo, choice });

test.each([
  ['hf:org/repo', hub('org/repo')],
  ['hf:org/repo:Q4_K_M', hub('org/repo', 'Q4_K_M')],
  ['org/repo-GGUF', hub('org/repo-GGUF')],
  ['org/repo:Q8_0', hub('org/repo', 'Q8_0')],
  ['org/repo:file-Q8_0.gguf', hub('org/repo', 'file-Q8_0.gguf')],
  ['https://example.org/a.gguf', { kind: 'url', url: 'https://example.org/a.gguf' }],
  ['models/a.gguf', { kind: 'path', path: 'models/a.gguf' }],
  ['/opt/a.gguf', { kind: 'path', path: '/opt/a.gguf' }],
  ['./org/repo', { kind: 'path', path: './org/repo' }],
  ['../repo', { kind: 'path', path: '../repo' }],
  ['a/b/c', { kind: 'path', path: 'a/b/c' }],
])('%s is parsed', (text, spec) => expect(parseModelSpec(text)).toEqual(spec));

test.each(['hf:', 'hf:repo', 'hf:../etc', 'hf:org/repo:', 'hf:org/repo:a b', 'hf:a/b/c'])(
  '%s is refused',
  (text) => {
    expect(() => parseModelSpec(text)).toThrow('write hf:org/repo or hf:org/repo:quant');
  },
);

test('a malformed URL is refused', () => {
  expect(() => parseModelSpec('https://')).toThrow('is not a valid URL');
});

test('the case of a quantisation does not make a different model', () => {
  expect(specKey(parseModelSpec('hf:org/repo:q4_k_m'))).toBe(specKey(parseModelSpec('org/repo:Q4_K_M')));
});
