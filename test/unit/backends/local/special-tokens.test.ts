import type { JsonObject } from '../../../../src/contract.js';
import { LMServError } from '../../../../src/errors.js';
import {
  promptTexts,
  refuseSpecialTokens,
  type Post,
} from '../../../../src/backends/local/special-tokens.js';
import { ChildRefusal } from '../../../../workers/child-http.js';

/** A child whose only control token is `</s>`, 2; every other character is a token of its own. */
const child: Post = async (path, body) => {
  if (path === '/detokenize') {
    const tokens = body.tokens as number[];
    if (tokens.some((token) => token > 255)) throw new ChildRefusal(500, 'server_error', 'out of range');
    return { content: tokens.map((token) => (token === 2 ? '</s>' : String.fromCharCode(token))).join('') };
  }
  const texts = body.content as string[];
  const split = (text: string) => (body.parse_special ? text.split(/(<\/s>)/) : [text]);
  const encode = (part: string, at: number) => (at % 2 ? [2] : [...part].map((c) => c.codePointAt(0)!));
  return { tokens: texts.flatMap((text) => split(text).flatMap(encode)) };
};

const refusal = (body: JsonObject) =>
  refuseSpecialTokens(body, child).then(
    () => undefined,
    (error: LMServError) => [error.code, error.param],
  );

const user = (content: JsonObject['content']) => ({ messages: [{ role: 'user', content }] }) as JsonObject;
const call = (text: string): JsonObject => ({
  id: 'c',
  type: 'function',
  function: { name: 'f', arguments: text },
});
const assistant = (text: string) => ({
  messages: [{ role: 'assistant', content: null, tool_calls: [call(text)] }],
});
const tool = (description: string, parameters: JsonObject = {}): JsonObject => ({
  ...user('hi'),
  tools: [{ type: 'function', function: { name: 'f', description, parameters } }],
});

test.each<[string, JsonObject]>([
  ['a message', user('a</s>b')],
  ['a part', user([{ type: 'text', text: '</s>' }])],
  [
    'two parts that meet',
    user([
      { type: 'text', text: 'a</' },
      { type: 'text', text: 's>' },
    ]),
  ],
  ['a system turn', { messages: [{ role: 'system', content: '</s>' }] }],
  ['the result of a tool', { messages: [{ role: 'tool', content: '</s>', tool_call_id: 'c' }] }],
  ['an escaped result of a tool', { messages: [{ role: 'tool', content: '{"a":"<\\/s>"}' }] }],
  ['the id of a call', { messages: [{ role: 'tool', content: 'x', tool_call_id: '</s>' }] }],
  ['reasoning', { messages: [{ role: 'assistant', content: 'x', reasoning_content: '</s>' }] }],
  ['arguments', assistant('{"a":"</s>"}')],
  ['escaped arguments', assistant('{"a":"\\u003C/s>"}')],
  ['what a tool is for', tool('</s>')],
  ["the name of a tool's parameter", tool('x', { properties: { '</s>': {} } })],
  ['a forced form', { ...user('hi'), response_format: { json_schema: { title: '</s>' } } }],
])('control tokens in %s are refused', async (_name, body) => {
  expect(await refusal(body)).toEqual(['special_token', 'messages']);
});

test.each<[string, JsonObject]>([
  ['a raw prompt', { prompt: 'a</s>' }],
  ['token ids', { prompt: [97, 2] }],
])('control tokens in %s are refused', async (_name, body) => {
  expect(await refusal(body)).toEqual(['special_token', 'prompt']);
});

test.each<[string, JsonObject]>([
  ['plain text', user('a < b, /s>')],
  [
    'two messages that never meet',
    {
      messages: [
        { role: 'user', content: '</' },
        { role: 'user', content: 's>' },
      ],
    },
  ],
  ['a stop string', { ...user('hi'), stop: ['</s>'] }],
  ['a grammar', { ...user('hi'), grammar: 'root ::= "</s>"' }],
  ['half a surrogate pair, escaped, in arguments', assistant('{"a":"\\ud83d"}')],
  ['an escape in what a user says', user('<\\/s>')],
  ['an image', user([{ type: 'image_url', image_url: { url: 'data:image/png;base64,AA==' } }])],
  ['token ids', { prompt: [97, 98] }],
])('%s is let through', async (_name, body) => {
  expect(await refusal(body)).toBeUndefined();
});

test.each([0, 65_530, 65_534, 65_536, 131_000, 199_996])(
  'a long text is tokenised in pieces, and a token is found at %i',
  async (place) => {
    const lengths: number[] = [];
    const noting: Post = (path, asked) => {
      lengths.push((asked.content as string[]).join('').length);
      return child(path, asked);
    };
    const text = `${'x'.repeat(place)}</s>${'x'.repeat(200_000 - place)}`;
    await expect(refuseSpecialTokens({ prompt: text }, noting)).rejects.toMatchObject({
      code: 'special_token',
    });
    expect(Math.max(...lengths)).toBeLessThanOrEqual(65_536);
    await refuseSpecialTokens({ prompt: text.replace('</s>', '</S>') }, noting);
  },
);

test('ids that are no tokens are the fault of the request', async () => {
  expect(await refusal({ prompt: [999] })).toEqual(['invalid_value', 'prompt']);
});

test('texts are whole UTF-16 and none is sent twice', () => {
  const body = {
    messages: [...assistant('{"a":"\\ud83d"}').messages, ...(user('f').messages as JsonObject[])],
  };
  const texts = promptTexts(body);
  expect(texts.every((text) => text.isWellFormed())).toBe(true);
  expect(new Set(texts).size).toBe(texts.length);
});
