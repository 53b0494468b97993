import { jest } from '@jest/globals';
import { parseChunk } from '../../../../src/backends/remote/parse-chunk.js';

const provider = { name: 'far', sent: {}, clean: (text: string) => text, hasKey: false };

test('a deeply nested error is one like any other', () => {
  const deep = `{"error":{"message":${'['.repeat(5_000)}${']'.repeat(5_000)}}}`;
  expect(() => parseChunk(provider, deep)).toThrow('The provider far broke off its reply');
});

test.each([
  ['deep', `{"choices":${'['.repeat(10_000)}${']'.repeat(10_000)}}`],
  ['wide', `{"choices":[${'[],'.repeat(100_000)}[]]}`],
])('a large event that is too %s is refused before it is parsed', (_, data) => {
  const parse = jest.spyOn(JSON, 'parse');
  try {
    expect(() => parseChunk(provider, data)).toThrow(
      'The provider far sent something that is not part of a reply',
    );
    expect(parse).not.toHaveBeenCalled();
  } finally {
    parse.mockRestore();
  }
});
