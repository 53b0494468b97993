import { withoutPrompt } from '../../../src/backends/redact-prompt.js';

const user = (...texts: string[]) => ({ messages: texts.map((content) => ({ role: 'user', content })) });

test.each([
  ['a completely quoted short text is replaced', 'bad: once upon!', user('once upon'), 'bad: [prompt]!'],
  ['several quotes are replaced', 'once upon, once upon', user('once upon'), '[prompt], [prompt]'],
  [
    'overlapping texts are replaced as one',
    'got "tell me more"',
    user('tell me', 'me more'),
    'got "[prompt]"',
  ],
  [
    'a part of a longer text is replaced',
    'near "quick brown fox jumps"…',
    user('The quick brown fox jumps over the dog'),
    'near "[prompt]"…',
  ],
  [
    'a line break quoted as a blank is recognised',
    'near "one two" here',
    user('one\ntwo'),
    'near "[prompt]" here',
  ],
  ['a text that is too short stays', 'not a role', user('rol'), 'not a role'],
  [
    'a short part of a longer text stays',
    'temperature is too high',
    user('what is the temperature?'),
    'temperature is too high',
  ],
  [
    'arguments of calls are replaced',
    'bad {"city":"Lima"}',
    { messages: [{ tool_calls: [{ function: { arguments: '{"city":"Lima"}' } }] }] },
    'bad [prompt]',
  ],
])('%s', (_, text, body, clean) => expect(withoutPrompt(text, body)).toBe(clean));

test('texts that are parts of the replacement do not lengthen it', () => {
  const texts = Array.from({ length: 2_000 }, (_, number) => (number % 2 ? 'mpt]' : '[pro'));
  expect(withoutPrompt('Unsupported value for temperature', user('temperature', ...texts))).toBe(
    'Unsupported value for [prompt]',
  );
});

test('a message is cut at 4 Ki characters, after a quote across the cut is replaced', () => {
  const prompt = 'this sentence is across the cut';
  const clean = withoutPrompt('-'.repeat(4090) + prompt + 'never seen', user(prompt));
  expect(clean).toBe('-'.repeat(4090) + '[prompt]');
});
