/**
 * Finds constructions that read as translated rather than as plain English, in prose, comments and messages. Part of
 * `npm run lint`; exit code 1 if there are any. Pages may quote code in backquotes and test titles in quotation marks.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';

const ROOT = path.resolve(import.meta.dirname, '..');

/** Files and folders that must be clean. */
const CHECKED = [
  'README.md',
  'CHANGELOG.md',
  'docs',
  'deploy',
  'models/README.md',
  'scripts',
  'src',
  'test',
  'workers',
  'bench',
];
const SKIPPED = ['test/clients/node_modules', 'bench/results', 'scripts/check-prose.mjs'];
const EXTENSIONS = /\.(md|ts|mts|mjs|json|sh|conf|service|socket|py)$|Caddyfile$/;

/** Construction and what to write instead. A space also matches a line break with a comment mark. */
const PATTERNS = [
  ['(?<!there )\\b(?:is|are) no [a-z]+ (?:of|that|this|such|as)\\b', 'is not a …'],
  ['(?:^|[.;:]) Who [a-z]+s (?![^.\\n]*\\?)', 'a noun: a client that …'],
  ['\\b(?:by|for|from|to|of|with|than) who\\b', 'a noun: by the client that …'],
  ['\\bgo(?:es|ne|ing)? on with\\b', 'resume or continue'],
  ['\\b(?:is|are|was|were|be) told (?:to|of|so|that)\\b', 'an active verb: … says, … learns'],
  ["\\b(?:nobody|everybody|somebody)'s\\b", 'a noun'],
  ["\\bone's own\\b", 'your own, or custom'],
  ['\\ban own\\b', 'a dedicated, or its own'],
  ['\\bin the place of\\b', 'instead of'],
  ["\\bin [a-zA-Z]+[’']s place\\b", 'instead of'],
  ['\\bfor want of\\b', 'for lack of'],
  ['\\bhand(?:s|ed|ing)? on\\b', 'pass on'],
  ['\\bas (?:it|they) comes?\\b', 'by default, or unchanged'],
  ['\\bin vain\\b', 'without success'],
  ['\\banew\\b', 'again'],
].map(([source, advice]) => [new RegExp(source.replaceAll(' ', '[\\s*/#]+'), 'gim'), advice]);

function* files(name) {
  if (SKIPPED.includes(name)) return;
  const full = path.join(ROOT, name);
  if (statSync(full).isDirectory())
    for (const entry of readdirSync(full)) yield* files(path.posix.join(name, entry));
  else if (EXTENSIONS.test(name)) yield name;
}

/** Blanks out code and quotations, keeping the line breaks. */
const prose = (text) =>
  text.replace(/```[^]*?```|`[^`\n]*`|"[^"\n]*"/g, (quote) => quote.replace(/[^\n]/g, '~'));

const findings = CHECKED.flatMap((name) => [...files(name)]).flatMap((name) => {
  const source = readFileSync(path.join(ROOT, name), 'utf8');
  const text = name.endsWith('.md') ? prose(source) : source;
  return PATTERNS.flatMap(([pattern, advice]) =>
    [...text.matchAll(pattern)].map(({ 0: found, index }) => {
      const line = text.slice(0, index).split('\n').length;
      return `${name}:${line}: "${found.replace(/\s+/g, ' ').trim()}": write ${advice}`;
    }),
  );
});

for (const finding of findings) console.error(finding);
if (findings.length > 0) process.exitCode = 1;
