import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { ERRORS } from '../../../src/errors.js';
import { ROOT } from '../../../src/config/root.js';

/** Stands for the parts that vary, in the page and in the texts of the source. */
const VARIES = '…';
const PAGE = readFileSync(join(ROOT, 'docs/troubleshooting.md'), 'utf8');

/** The page quotes LMServ's own words like this: “`words`”. */
const quoted = (text: string): string[] => [...text.matchAll(/“`([^`]+)`”/g)].map(([, words]) => words!);

/** The cells of the page's tables, by row, without headings and rules. */
const ROWS = PAGE.split('\n')
  .filter((line) => line.startsWith('| ') && !line.startsWith('| symptom '))
  .map((line) =>
    line
      .split(/(?<!\\)\|/)
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );

/** The text of an expression, with … for the parts that are known only at run time. */
function textOf(node: ts.Node): string {
  if (ts.isStringLiteralLike(node)) return node.text;
  if (ts.isTemplateExpression(node)) {
    return node.head.text + node.templateSpans.map(({ literal }) => VARIES + literal.text).join('');
  }
  if (ts.isBinaryExpression(node) && node.operatorToken.kind === ts.SyntaxKind.PlusToken) {
    return textOf(node.left) + textOf(node.right);
  }
  return VARIES;
}

function textsIn(file: string): string[] {
  const texts: string[] = [];
  const visit = (node: ts.Node): void => {
    texts.push(textOf(node));
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.Latest));
  return texts.filter((text) => text !== VARIES);
}

/** The sources without the doctor: the page is about the messages of the others. */
const SOURCES = ['src', 'workers', 'scripts'].flatMap((folder) =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(ts|mjs)$/.test(name) && !name.startsWith('doctor'))
    .map((name) => join(ROOT, folder, name)),
);
const TEXTS = SOURCES.flatMap(textsIn);

/** A quotation without varying parts at its ends. */
const core = (words: string): string => words.replace(/^[… ]+|[… ]+$/g, '');

test('the page quotes only what LMServ says', () => {
  const quotations = quoted(PAGE).slice(1);
  expect(quotations.length).toBeGreaterThan(50);
  const invented = quotations.filter((words) => !TEXTS.some((text) => text.includes(core(words))));
  expect(invented).toEqual([]);
});

test('a message that no longer exists would be noticed', () => {
  expect(TEXTS.some((text) => text.includes('This message never was'))).toBe(false);
});

test.each(Object.entries(ERRORS))('the page quotes %s with its status', (_, { status, message }) => {
  for (const [symptom] of ROWS.filter(([cell]) => quoted(cell!).includes(message))) {
    expect(symptom).toMatch(new RegExp(`^${status} `));
  }
});

test('each row has a symptom, a cause and a remedy', () => {
  expect(ROWS.filter((cells) => cells.length !== 3 || cells.includes(''))).toEqual([]);
});

test('the page names every reason for which a worker ends', () => {
  const reasons = TEXTS.filter((text) =>
    /^(hung: |listens but|no sign of progress|cannot be run: |ended by |exit code )/.test(text),
  );
  const told = quoted(PAGE).map(core);
  expect(reasons.length).toBeGreaterThan(4);
  expect(reasons.filter((reason) => !told.some((words) => reason.startsWith(words)))).toEqual([]);
});
