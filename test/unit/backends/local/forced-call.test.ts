import type { ReplyEvent } from '../../../../src/contract.js';
import type { Chunk } from '../../../../src/backends/chunk.js';
import { CallMissing, CallOrSchema, CallWatch } from '../../../../src/backends/local/forced-call.js';
import { ReplyReader } from '../../../../src/backends/reply-reader.js';

const text = (content: string): Chunk => ({ choices: [{ delta: { content } }] });
const call: Chunk = {
  choices: [{ delta: { tool_calls: [{ index: 0, id: 'c', function: { name: 'f', arguments: '{}' } }] } }],
};
const end = (finish_reason: string): Chunk => ({ choices: [{ delta: {}, finish_reason }] });

function reading<Watch>(create: (reader: ReplyReader) => Watch) {
  const events: ReplyEvent[] = [];
  const sink = { event: (event: ReplyEvent) => void events.push(event) };
  const reader = new ReplyReader({ tools: [{ function: { name: 'f' } }] }, sink, () => undefined);
  return { watch: create(reader), types: () => events.map(({ type }) => type) };
}

describe('a reply that is a call or has a form', () => {
  const create = () => reading((reader) => new CallOrSchema(reader));

  test('keeps the text before a call, once there is one', () => {
    const { watch, types } = create();
    watch.chunk(text('Let me '));
    watch.chunk(text('look.'));
    expect(types()).toEqual([]);
    watch.chunk(call);
    watch.chunk(text(' Done.'));
    expect(types()).toEqual(['prefill', 'text', 'text', 'tool_call', 'text']);
  });

  test('passes reasoning on at once', () => {
    const { watch, types } = create();
    watch.chunk({ choices: [{ delta: { reasoning_content: 'hm' } }] });
    expect(types()).toEqual(['prefill', 'reasoning']);
  });

  test.each(['stop', 'length'])('passes nothing on of a text that ends with %s', (reason) => {
    const { watch, types } = create();
    watch.chunk(text('free text'));
    expect(() => watch.chunk(end(reason))).toThrow(CallMissing);
    expect(types()).toEqual([]);
  });

  test('waits for a call no longer than 256 tokens', () => {
    const { watch } = create();
    for (let token = 0; token < 256; token += 1) watch.chunk(text('a'));
    expect(() => watch.chunk(text('a'))).toThrow(CallMissing);
  });
});

describe('a reply that must be a call', () => {
  test('has text first for half of max_tokens at most', () => {
    const { watch } = reading((reader) => new CallWatch(reader, 4));
    watch.chunk(text('a'));
    watch.chunk(text('b'));
    expect(() => watch.chunk(text('c'))).toThrow(CallMissing);
  });

  test('that ends without one is none', () => {
    const { watch } = reading((reader) => new CallWatch(reader, 100));
    watch.chunk(text('a'));
    expect(() => watch.chunk(end('stop'))).toThrow(CallMissing);
  });

  test('fails when max_tokens are used up before it', () => {
    const { watch } = reading((reader) => new CallWatch(reader, 100));
    expect(() => watch.chunk(end('length'))).toThrow('max_tokens were used up');
  });
});
