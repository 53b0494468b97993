import { ToolOrder } from '../../../../src/backends/local/tool-order.js';
import type { JsonObject } from '../../../../src/contract.js';

const caller = { name: 'someone', admin: false };

const asking = (tools: string, more: object[] = []): JsonObject =>
  ({
    messages: [{ role: 'system', content: 's' }, { role: 'user', content: 'hi' }, ...more],
    tools: [...tools].map((name) => ({ type: 'function', function: { name } })),
  }) as unknown as JsonObject;

const order = ({ tools }: JsonObject): string =>
  (tools as unknown as { function: { name: string } }[]).map((tool) => tool.function.name).join('');

test.each([
  ['the same', 'abc', 'abc', 'abc'],
  ['in another order', 'abc', 'cab', 'abc'],
  ['with new ones among them', 'abc', 'axbyc', 'abcxy'],
  ['without one', 'abc', 'ca', 'ac'],
])('the tools of a later turn, %s, keep their order', (_, first, later, kept) => {
  const tools = new ToolOrder();
  expect(order(tools.keep(asking(first), caller))).toBe(first);
  const next = asking(later, [{ role: 'assistant', content: 'yes' }]);
  expect(order(tools.keep(next, caller))).toBe(kept);
});

test('a tool that is taken away and comes back has its old place', () => {
  const tools = new ToolOrder();
  for (const given of ['abc', 'ac']) tools.keep(asking(given), caller);
  expect(order(tools.keep(asking('acb'), caller))).toBe('abc');
});

test('another conversation, and another caller, have no influence', () => {
  const tools = new ToolOrder();
  tools.keep(asking('abc'), caller);
  const other = { ...asking('cab'), messages: [{ role: 'user', content: 'hello' }] };
  expect(order(tools.keep(other, caller))).toBe('cab');
  expect(order(tools.keep(asking('cab'), { ...caller, name: 'else' }))).toBe('cab');
  expect(order(tools.keep(asking('cab'), { ...caller, address: '10.0.0.1' }))).toBe('cab');
});

test('a body whose tools stay as they are is the same', () => {
  const tools = new ToolOrder();
  const bodies = [asking('abc'), asking('abc'), { prompt: 'x' }, { messages: [] }];
  for (const body of bodies) expect(tools.keep(body, caller)).toBe(body);
});

test('the conversation that was used least recently is forgotten', () => {
  const tools = new ToolOrder();
  const at = (n: number, given: string) => ({
    ...asking(given),
    messages: [{ role: 'user', content: `${n}` }],
  });
  for (let n = 0; n < 256; n += 1) tools.keep(at(n, 'abc'), caller);
  tools.keep(at(0, 'abc'), caller);
  tools.keep(at(256, 'abc'), caller);
  expect(order(tools.keep(at(0, 'cab'), caller))).toBe('abc');
  expect(order(tools.keep(at(1, 'cab'), caller))).toBe('cab');
});
