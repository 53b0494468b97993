import { withoutPrompt } from '../../../src/backends/redact-prompt.js';

const user = (...texts: string[]) => ({ messages: texts.map((content) => ({ role: 'user', content })) });

test.each([
  ['a short text quoted whole', 'bad: once upon!', user('once upon'), 'bad: [prompt]!'],
  ['several quotes', 'once upon, once upon', user('once upon'), '[prompt], [prompt]'],
  ['overlapping texts as one', 'got "tell me more"', user('tell me', 'me more'), 'got "[prompt]"'],
  [
    'a part of a longer text',
    'near "quick brown fox jumps"…',
    user('The quick brown fox jumps over the dog'),
    'near "[prompt]"…',
  ],
  ['a quote with its line break as a blank', 'near "one two" here', user('one\ntwo'), 'near "[prompt]" here'],
  ['too short a text stays', 'not a role', user('rol'), 'not a role'],
  [
    'a short part of a longer text stays',
    'temperature is too high',
    user('what is the temperature?'),
    'temperature is too high',
  ],
  [
    'arguments of calls',
    'bad {"city":"Lima"}',
    { messages: [{ tool_calls: [{ function: { arguments: '{"city":"Lima"}' } }] }] },
    'bad [prompt]',
  ],
])('%s', (_, text, body, clean) => {
  expect(withoutPrompt(text, body)).toBe(clean);
});

test('texts that are parts of the replacement do not make it grow', () => {
  const texts = Array.from({ length: 2_000 }, (_, number) => (number % 2 ? 'mpt]' : '[pro'));
  expect(withoutPrompt('Unsupported value for temperature', user('temperature', ...texts))).toBe(
    'Unsupported value for [prompt]',
  );
});

test('a text is cut at 4 Ki characters, and what is quoted across the cut is taken out', () => {
  const prompt = 'this sentence is across the cut';
  const clean = withoutPrompt('-'.repeat(4090) + prompt + 'never seen', user(prompt));
  expect(clean).toBe('-'.repeat(4090) + '[prompt]');
});
