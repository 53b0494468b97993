import { createRedactor } from '../../../../src/backends/remote/redact.js';
import { withoutPrompt } from '../../../../src/backends/redact-prompt.js';

const redact = createRedactor(['s3cret value']);

test.each([
  ['the literal key: s3cret value!', 'the literal key: [redacted]!'],
  ['in a URL: s3cret%20value', 'in a URL: [redacted]'],
  ['Authorization: Bearer abc.def-123', 'Authorization: [redacted]'],
  ['{"authorization":"Bearer abcdef"}', '{"authorization":"[redacted]"}'],
  ['x-api-key: abc123, next', 'x-api-key: [redacted], next'],
  ['sent bearer abcdef99 to it', 'sent bearer [redacted] to it'],
  ['https://host/v1?key=abc&alt=sse', 'https://host/v1?key=[redacted]&alt=sse'],
  ['https://host/v1?alt=sse&access_token=abc', 'https://host/v1?alt=sse&access_token=[redacted]'],
  ['https://user:pass@host/', 'https://[redacted]@host/'],
  ['Incorrect API key provided: sk-proj-ab***yz.', 'Incorrect API key provided: [redacted].'],
  ['hf_abcdefgh and gsk_abcdefgh', '[redacted] and [redacted]'],
  ['AIzaSyA1234567890', '[redacted]'],
  ['eyJhbGciOiJI.eyJzdWIiOiIx.sig-nature', '[redacted]'],
  ['two\nlines\u001b[31m', 'two lines [31m'],
  ['a.key*with|signs', 'a.key*with|signs'],
])('%j becomes %j', (text, clean) => {
  expect(redact(text)).toBe(clean);
});

test.each([
  'The model `gpt-9` does not exist',
  'max_tokens is too large: 4096',
  'a risk-free, task-based token limit of 8',
])('%j stays as it is', (text) => {
  expect(redact(text)).toBe(text);
});

test('a key that is in the replacement does not make it grow', () => {
  expect(createRedactor(['e', 'd'])('the end')).toBe('th[redacted] [redacted]n[redacted]');
});

test('an empty key redacts nothing', () => {
  expect(createRedactor([''])('abc')).toBe('abc');
});

test('what the client wrote is taken out, the longest part first, and roles stay', () => {
  const body = {
    messages: [
      { role: 'user', content: 'tell me' },
      { role: 'user', content: [{ type: 'text', text: 'tell me more' }] },
    ],
  };
  expect(withoutPrompt('role user: "tell me more" after "tell me"', body)).toBe(
    'role user: "[prompt]" after "[prompt]"',
  );
  expect(withoutPrompt('bad prompt: once upon', { prompt: 'once upon' })).toBe('bad prompt: [prompt]');
});
