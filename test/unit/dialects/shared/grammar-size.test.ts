import { isSmallGrammar } from '../../../../src/dialects/shared/grammar-size.js';

test.each([
  'root ::= "yes" | "no"',
  'root ::= item{1,100}\nitem ::= [a-z]{1,20} (" " [0-9]{1,4})*',
  '^([0-9]{1,3}\\.){3}[0-9]{1,3}$',
  '^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$',
  `root ::= ${'("a")'.repeat(500)}`,
  'x'.repeat(60_000),
])('%.60s is accepted', (text) => {
  expect(isSmallGrammar(text)).toBe(true);
});

test.each([
  `root ::= ${'('.repeat(30_000)}`,
  `root ::= ${'('.repeat(5_000)}"a"${')'.repeat(5_000)}`,
  '^(((a{0,999}){0,999}){0,999}){0,999}$',
  'root ::= (("a"{0,999}) {0,999}\n) { 0 , 999 }',
  'root ::= "a"{99999999}',
  'root ::= "a"{0,99999999}',
  `root ::= (${'"a"{0,900} '.repeat(500)}){100}`,
])('%.60s is refused', (text) => {
  expect(isSmallGrammar(text)).toBe(false);
});
