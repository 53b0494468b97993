import { chooseFiles, quantOf } from '../../../src/install/models/choose.js';

const files = (...names: string[]) => names.map((path) => ({ path, size: 10, sha256: undefined }));
const pick = (names: string[], choice?: string) =>
  chooseFiles('org/repo', files(...names), choice).map(({ path }) => path);

test.each([
  ['gemma-2b-it-q4_0.gguf', 'Q4_0'],
  ['Model.IQ2_XXS.gguf', 'IQ2_XXS'],
  ['model-UD-Q4_K_XL.gguf', 'UD-Q4_K_XL'],
  ['model-bf16.gguf', 'BF16'],
  ['gpt-mxfp4.gguf', 'MXFP4'],
  ['Q8_0/model-Q8_0-00001-of-00002.gguf', 'Q8_0'],
  ['model.gguf', undefined],
])('the quantisation of %s is %s', (name, quant) => expect(quantOf(name)).toBe(quant));

test('Q4_K_M is preferred by default, then Q4_0, then Q8_0', () => {
  expect(pick(['m-Q8_0.gguf', 'm-Q4_0.gguf', 'm-Q4_K_M.gguf', 'm-F16.gguf'])).toEqual(['m-Q4_K_M.gguf']);
  expect(pick(['m-Q8_0.gguf', 'm-Q4_0.gguf'])).toEqual(['m-Q4_0.gguf']);
  expect(pick(['m-Q8_0.gguf', 'm-F16.gguf'])).toEqual(['m-Q8_0.gguf']);
});

test('the only model is chosen whatever it is, besides companions and other files', () => {
  expect(pick(['m-F16.gguf', 'mmproj-m-F16.gguf', 'imatrix.gguf', 'README.md'])).toEqual(['m-F16.gguf']);
});

test('an image projector is chosen by its name alone', () => {
  const names = ['m-F16.gguf', 'mmproj-F16.gguf'];
  expect(pick(names, 'mmproj-F16.gguf')).toEqual(['mmproj-F16.gguf']);
  expect(pick(names, 'F16')).toEqual(['m-F16.gguf']);
});

test('a requested model is matched regardless of case, and by file name', () => {
  expect(pick(['m-Q8_0.gguf', 'm-Q4_K_M.gguf'], 'q8_0')).toEqual(['m-Q8_0.gguf']);
  expect(pick(['a-Q8_0.gguf', 'b-Q8_0.gguf'], 'b-Q8_0.gguf')).toEqual(['b-Q8_0.gguf']);
});

test('a split model consists of all its parts, in order', () => {
  const parts = [2, 1, 3].map((part) => `x/m-Q4_0-0000${part}-of-00003.gguf`);
  expect(pick(parts)).toEqual([...parts].sort());
});

test('a split model without one of its parts is refused', () => {
  expect(() => pick(['m-Q4_0-00001-of-00002.gguf'])).toThrow('has 1 of the 2 parts');
});

test('several matching models are listed as they can be requested', () => {
  expect(() => pick(['m-Q5_K_M.gguf', 'm-Q6_K.gguf'])).toThrow('hf:org/repo:Q5_K_M\n  hf:org/repo:Q6_K');
  expect(() => pick(['a-Q4_0.gguf', 'b-Q4_0.gguf'])).toThrow('hf:org/repo:a-Q4_0.gguf');
});

test('a missing model is refused with a list of the existing ones', () => {
  expect(() => pick(['m-Q5_K_M.gguf'], 'Q2_K')).toThrow(
    'org/repo has no Q2_K. It has:\n  hf:org/repo:Q5_K_M',
  );
});

test('a repository without GGUF files is refused', () => {
  expect(() => pick(['model.safetensors'])).toThrow('has no GGUF files');
});
