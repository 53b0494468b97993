import { ReplySoFar } from '../../../../src/backends/local/reply-so-far.js';
import { ReplyReader } from '../../../../src/backends/reply-reader.js';
import type { GenerateRequest, JsonObject, ReplyEvent } from '../../../../src/contract.js';

const user = { role: 'user', content: 'hi' };
const chat = (body: JsonObject = {}): GenerateRequest => ({
  kind: 'chat',
  n: 1,
  body: { messages: [user], ...body },
});
const text = (value: string): ReplyEvent => ({ type: 'text', index: 0, text: value });

/** A reply of which these events have been passed on. */
function after(request: GenerateRequest, ...events: ReplyEvent[]): ReplySoFar {
  const nothing = () => undefined;
  const reader = new ReplyReader(request.body, { event: nothing }, nothing);
  for (const event of events) reader.event(event);
  return new ReplySoFar(request, reader);
}

test('while nothing was passed on the request is the same', () => {
  const request = chat();
  expect(after(request, { type: 'prefill', promptTokens: 3 }).next()).toBe(request);
});

test("the text so far becomes the assistant's turn", () => {
  expect(after(chat(), text('Cev'), text('iche ')).next().body.messages).toEqual([
    user,
    { role: 'assistant', content: 'Ceviche ' },
  ]);
});

test('a turn that the client began is resumed, in the same turn', () => {
  const begun = { role: 'assistant', content: [{ type: 'text', text: 'My ' }] };
  expect(after(chat({ messages: [user, begun] }), text('dish')).next().body.messages).toEqual([
    user,
    { role: 'assistant', content: 'My dish' },
  ]);
});

test('reasoning is carried', () => {
  const reply = after(chat(), { type: 'reasoning', index: 0, text: 'hm' }, text('so'));
  expect((reply.next().body.messages as JsonObject[]).at(-1)).toEqual({
    role: 'assistant',
    content: 'so',
    reasoning_content: 'hm',
  });
});

test('the token limit shrinks, and with none left there is nothing to resume', () => {
  expect(after(chat({ max_tokens: 5 }), text('a'), text('b')).next().body.max_tokens).toBe(3);
  expect(after(chat({ max_tokens: 1 }), text('a')).full).toBe(true);
  expect(after(chat({ max_tokens: 2 }), text('a')).full).toBe(false);
  expect(after(chat(), text('a')).full).toBe(false);
});

test('a call is not resumed, whatever became of the tools in the conversation', () => {
  const call = { index: 0, id: 'c', name: 'f', arguments: '{' };
  expect(after(chat(), { type: 'tool_call', index: 0, call }).resumable).toBe(false);
  expect(after(chat(), text('Let me call.')).resumable).toBe(true);
});

test('one event may have brought several tokens', () => {
  const reply = after(chat({ max_tokens: 9 }), text('a b c'));
  reply.recount(3);
  expect(reply.next().body.max_tokens).toBe(6);
  reply.recount(1);
  expect(reply.tokens).toBe(3);
  // However many tokens the text has for the tokenizer, no more came than were requested.
  reply.recount(12);
  expect(reply.tokens).toBe(9);
  expect(reply.full).toBe(true);
});

test.each(['tools', 'response_format', 'grammar', 'logprobs'])('not with %s', (field) => {
  expect(after(chat({ max_tokens: 9, [field]: 'x' }), text('a')).resumable).toBe(false);
  expect(after(chat({ max_tokens: 9 }), text('a')).resumable).toBe(true);
});

test('a raw prompt grows; one of token ids cannot', () => {
  const raw = (prompt: string | number[]): GenerateRequest => ({
    kind: 'raw',
    n: 1,
    body: { prompt, max_tokens: 9 },
  });
  expect(after(raw('Once'), text(' upon')).next().body.prompt).toBe('Once upon');
  expect(after(raw([1, 2]), text('a')).resumable).toBe(false);
});

test('the tokens so far are carried into the usage once they are resumed', () => {
  const reply = after(chat(), text('a'), text('b'));
  expect(reply.carried).toBe(0);
  reply.next();
  expect(reply.carried).toBe(2);
});

test('an estimate of the tokens never makes a reply full, a count may', () => {
  const reply = after(chat({ max_tokens: 10 }), text('a'), text('b'));
  reply.estimate(40);
  expect([reply.tokens, reply.full]).toEqual([9, false]);
  reply.recount(10);
  expect(reply.full).toBe(true);
});
