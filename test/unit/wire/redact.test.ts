import { redact } from '../../../src/wire/redact.js';

test.each([
  ['https://api.example/v1?key=SECRET', 'https://api.example/v1?key=[redacted]'],
  ['https://api.example/v1?a=1&api_key=SECRET&b=2', 'https://api.example/v1?a=1&api_key=[redacted]&b=2'],
  ['https://me:SECRET@api.example/v1', 'https://[redacted]@api.example/v1'],
  ['Authorization: Bearer SECRET', 'Authorization: [redacted]'],
  ['authorization: Basic U0VDUkVU', 'authorization: [redacted]'],
  ['{"Authorization": "Bearer SECRET", "x": 1}', '{"Authorization": "[redacted]", "x": 1}'],
  ["{'Authorization': 'Bearer SECRET'}", "{'Authorization': '[redacted]'}"],
  ['got bearer SECRET.SECRET-SECRET_x=', 'got bearer [redacted]'],
  ['X-API-Key: SECRET', 'X-API-Key: [redacted]'],
  ['{"api_key":"SECRET"}', '{"api_key":"[redacted]"}'],
  ['Incorrect API key provided: sk-proj-SECRET_123.', 'Incorrect API key provided: [redacted].'],
  ['sk-ant-api03-SECRET and hf_SECRETSECRET', '[redacted] and [redacted]'],
  ['AIzaSySECRETSECRETSECRET', '[redacted]'],
])('%s', (text, expected) => {
  expect(redact(text)).toBe(expected);
});

test.each([
  'The prompt is longer than the context of the model',
  'max_tokens: Too small: expected number to be >=1',
  'tokens: 12',
  'https://api.example/v1?model=a&keyboard=b',
  'a risk-averse monkey',
])('leaves alone: %s', (text) => {
  expect(redact(text)).toBe(text);
});

test('several in one text are all taken out', () => {
  const text = redact('?key=CANARY1 ?token=CANARY2\nAuthorization: Bearer CANARY3\nsk-CANARY4CANARY');
  expect(text).not.toContain('CANARY');
});

test('a JSON web token is taken out also behind many beginnings of one', () => {
  const text = `${'-eyJ'.repeat(2_000)} eyJhbGciOiJI.CANARY.sig`;
  expect(redact(text)).not.toContain('CANARY');
});
