import { hubOptions } from '../../../src/install/models/hub.js';

test.each([
  [
    { HF_TOKEN: 'hf_x\n', HF_ENDPOINT: ' https://hub.lan ' },
    { token: 'hf_x', endpoint: 'https://hub.lan' },
  ],
  [{ HF_TOKEN: ' ', HF_ENDPOINT: '' }, {}],
  [{}, {}],
])('%j is read as %j', (env, expected) => {
  expect(hubOptions(env)).toEqual(expected);
});

test.each([
  [{ HF_TOKEN: 'hf_a b' }, /^HF_TOKEN must be printable ASCII without spaces$/],
  [{ HF_TOKEN: 'hf_clé' }, /^HF_TOKEN must be/],
  [{ HF_ENDPOINT: 'hub.lan' }, /^HF_ENDPOINT must be an address such as https:/],
])('%j is refused', (env, message) => {
  expect(() => hubOptions(env)).toThrow(message);
});
