import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readDotenv } from '../../../src/files/dotenv.js';
import { emptyFolder } from '../../support/folder.js';

const folder = emptyFolder();

function read(content: string | Buffer) {
  const file = join(folder, '.env');
  writeFileSync(file, content);
  const problems: string[] = [];
  return { variables: readDotenv(file, (reason) => problems.push(reason)), problems };
}

test.each([
  ['a # within a value', 'A=abc#def', 'abc#def'],
  ['several', 'A=#a##b#', '#a##b#'],
  ['a # at the start', 'A=#secret', '#secret'],
  ['a # after a space at the start', 'A= #comment', ''],
  ['a comment', 'A=abc # comment', 'abc'],
  ['a comment after a tab', 'A=abc\t#comment', 'abc'],
  ['a comment after quotes', 'A="abc"#comment', 'abc'],
  ['a # in quotes', `A='a #b#c' # comment`, 'a #b#c'],
  ['a # after a quote that opened nothing', `A=it's"#1`, `it's"#1`],
  ['a # in a value of two lines', 'A="a#\nb # c"\nB=x', 'a#\nb # c'],
  ['a comment that has another #', '# A=x#y\nA=z#w', 'z#w'],
  ['export', 'export A=a#b', 'a#b'],
  ['spaces around', '  A = a#b  ', 'a#b'],
  ['a final space in quotes', 'A="a "', 'a '],
  ['carriage returns', 'A=a#b\r\nB=c\r\n', 'a#b'],
  ['a byte order mark', '\uFEFFA=a#b', 'a#b'],
  ['a name twice', 'A=first\nA=last#1', 'last#1'],
  ['no value', 'A=', ''],
])('%s', (_form, text, value) => {
  const { variables, problems } = read(text);
  expect(variables.A).toBe(value);
  expect(problems).toEqual([]);
});

test('a file in UTF-16 is reported', () => {
  const { variables, problems } = read(Buffer.from('\uFEFFAPI_KEY=secret', 'utf16le'));
  expect(variables).toEqual({});
  expect(problems).toEqual(['is not plain text; save it as UTF-8']);
});
