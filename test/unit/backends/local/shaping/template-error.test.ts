import { isMismatch, templateSentence } from '../../../../../src/backends/local/shaping/template-error.js';

/** As llama.cpp 0.5.0 words them. */
const trace = (error: string) =>
  `\n------------\nWhile executing CallExpression at line 1, column 226 in source:\n...{{ raise_exception('x') }}...\n   ^\nError: ${error}`;

test.each([
  [trace('Jinja Exception: Conversation roles must alternate'), 'Conversation roles must alternate'],
  [
    `Unable to generate parser for this template. Automatic parser generation failed: ${trace('Jinja Exception: No user query found in messages.')}`,
    'No user query found in messages.',
  ],
  [trace('Cannot perform operation + on undefined values'), 'it cannot render this conversation'],
  [trace(`Jinja Exception: ${'x'.repeat(1_000)}`), 'x'.repeat(300)],
  ['Failed to parse tool call arguments as JSON: x', undefined],
  ['Unable to generate parser for this template. Automatic parser generation failed: any', undefined],
])('of %j the template’s sentence is %j', (message, sentence) => {
  expect(templateSentence(message)).toBe(sentence);
});

test.each([
  ['The model produced output that does not match the expected peg-native format', true],
  ['Invalid diff: now finding less tool calls!\n  Previous (1):', true],
  ['Failed to initialize samplers', false],
])('%j is a mismatch: %j', (message, mismatch) => {
  expect(isMismatch(message)).toBe(mismatch);
});
