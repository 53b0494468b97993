import type { ToolCallDelta } from '../../../src/contract.js';
import { ToolCalls, type RawToolCall } from '../../../src/backends/tool-calls.js';

const TOOLS = ['f', 'g', 'get_weather', 'get_time', 'get', 'haha'];
const request = { tools: TOOLS.map((name) => ({ type: 'function', function: { name } })) };

/** A part as servers send it: its index, id, name and arguments, where they are there. */
function p(index: unknown, id?: unknown, name?: unknown, args?: unknown): RawToolCall {
  const fields = { index, id, function: { name, arguments: args } };
  return JSON.parse(JSON.stringify(fields));
}

function collect(
  chunks: readonly (readonly RawToolCall[])[],
  { body = request, cut = false }: { body?: object; cut?: boolean } = {},
) {
  const deltas: ToolCallDelta[] = [];
  const calls = new ToolCalls(body as never, (delta) => deltas.push(delta));
  for (const chunk of chunks) calls.read(chunk);
  calls.end(cut);
  return deltas;
}

/** The calls as a client has them in the end, `name(arguments)`, after a check of the deltas' order. */
function callsOf(deltas: readonly ToolCallDelta[]) {
  const calls: { id: string; shown: string; args: string }[] = [];
  for (const { index, id, name, arguments: fragment = '' } of deltas) {
    if (calls[index] === undefined) {
      expect(index).toBe(calls.length);
      expect(id).toMatch(/./);
      calls.push({ id: id!, shown: name!, args: '' });
    } else expect([id, name]).toEqual([undefined, undefined]);
    calls[index]!.args += fragment;
  }
  expect(new Set(calls.map(({ id }) => id)).size).toBe(calls.length);
  return calls;
}

const LIMA = '{"city":"Lima"}';
const CUSCO = '{"city":"Cusco"}';
const TWO = [`get_weather(${LIMA})`, `get_time(${CUSCO})`];
const ONE = [`get_weather(${LIMA})`];
const [W, T] = ['get_weather', 'get_time'];
const [HEAD, TAIL] = ['{"city":', '"Lima"}'];
const n = null;
const u = undefined;

test.each<[string, (readonly RawToolCall[])[], string[]]>([
  // Indexes
  ['indexes 0 and 1', [[p(0, 'a', W, LIMA)], [p(1, 'b', T, CUSCO)]], TWO],
  ['an index that is always 0', [[p(0, 'a', W, LIMA)], [p(0, 'b', T, CUSCO)]], TWO],
  ['no index', [[p(u, 'a', W, LIMA)], [p(u, 'b', T, CUSCO)]], TWO],
  ['an index that is null', [[p(n, 'a', W, LIMA)], [p(n, 'b', T, CUSCO)]], TWO],
  ['indexes as texts', [[p('0', 'a', W, LIMA)], [p('1', 'b', T, CUSCO)]], TWO],
  ['indexes from 1', [[p(1, 'a', W, LIMA)], [p(2, 'b', T, CUSCO)]], TWO],
  ['indexes that jump', [[p(7, 'a', W, LIMA)], [p(60_000_000, 'b', T, CUSCO)]], TWO],
  ['falling indexes', [[p(1, 'a', W, LIMA)], [p(0, 'b', T, CUSCO)]], TWO],
  [
    'always 0 and in fragments',
    [[p(0, 'a', W, '')], [p(0, u, u, HEAD)], [p(0, u, u, TAIL)], [p(0, 'b', T, '')], [p(0, u, u, CUSCO)]],
    TWO,
  ],
  ['no index and in fragments', [[p(u, 'a', W, HEAD)], [p(u, n, n, TAIL)], [p(u, 'b', T, CUSCO)]], TWO],
  [
    'an index that grows with each fragment',
    [[p(0, 'a', W, '')], [p(1, u, u, HEAD)], [p(2, u, u, TAIL)]],
    ONE,
  ],
  ['an index that grows with each fragment of an id', [[p(0, 'a', W, HEAD)], [p(1, 'a', u, TAIL)]], ONE],
  [
    'interleaved by index',
    [
      [p(0, 'a', W, ''), p(1, 'b', T, '')],
      [p(1, u, u, HEAD), p(0, u, u, HEAD)],
      [p(0, u, u, TAIL)],
      [p(1, u, u, '"Cusco"}')],
    ],
    TWO,
  ],
  [
    'interleaved by id',
    [[p(u, 'a', W, HEAD)], [p(u, 'b', T, HEAD)], [p(u, 'a', u, TAIL)], [p(u, 'b', u, '"Cusco"}')]],
    TWO,
  ],
  [
    'interleaved by id with an index that is always 0',
    [[p(0, 'a', W, HEAD)], [p(0, 'b', W, HEAD)], [p(0, 'a', u, TAIL)], [p(0, 'b', u, '"Cusco"}')]],
    [`get_weather(${LIMA})`, `get_weather(${CUSCO})`],
  ],
  // Ids
  ['no ids', [[p(0, u, W, LIMA)], [p(1, u, T, CUSCO)]], TWO],
  ['empty ids', [[p(0, '', W, LIMA)], [p(1, '', T, CUSCO)]], TWO],
  ['neither ids nor indexes', [[p(u, u, W, LIMA)], [p(u, u, T, CUSCO)]], TWO],
  [
    'neither ids nor indexes, and the same function',
    [[p(u, u, 'f', '{}')], [p(u, u, 'f', '{}')]],
    ['f({})', 'f({})'],
  ],
  ['equal ids', [[p(0, 'x', W, LIMA)], [p(1, 'x', T, CUSCO)]], TWO],
  ['equal ids and indexes', [[p(0, 'x', W, LIMA)], [p(0, 'x', T, CUSCO)]], TWO],
  [
    'equal ids, indexes and functions',
    [[p(0, 'x', 'f', '{"a":1}')], [p(0, 'x', 'f', '{"a":2}')]],
    ['f({"a":1})', 'f({"a":2})'],
  ],
  [
    'equal ids in fragments',
    [
      [p(0, 'x', W, ''), p(1, 'x', T, '')],
      [p(0, u, u, LIMA), p(1, u, u, CUSCO)],
    ],
    TWO,
  ],
  ['ids that are numbers', [[p(0, 1, W, LIMA)], [p(0, 2, T, CUSCO)]], TWO],
  [
    'an id that changes with each fragment',
    [[p(0, 'a', W, '')], [p(0, 'b', u, HEAD)], [p(0, 'c', u, TAIL)]],
    ONE,
  ],
  [
    'an id that changes while the name is repeated',
    [[p(0, 'a', W, '')], [p(0, 'b', W, HEAD)], [p(0, 'c', W, TAIL)]],
    ONE,
  ],
  ['an id before its name', [[p(0, 'a')], [p(0, u, W, LIMA)]], ONE],
  ['an id after its name', [[p(0, u, W, '')], [p(0, 'a', u, LIMA)]], ONE],
  // Names
  [
    'a name in each fragment',
    [[p(0, 'a', W, '')], [p(0, 'a', W, HEAD)], [p(0, 'a', W, TAIL)], [p(0, 'a', W, '')]],
    ONE,
  ],
  ['a name in each fragment, without index and id', [[p(u, u, W, HEAD)], [p(u, u, W, TAIL)]], ONE],
  ['a name in pieces', [[p(0, 'a', 'get_', '')], [p(0, u, 'wea', '')], [p(0, u, 'ther', LIMA)]], ONE],
  ['a name that repeats itself', [[p(0, 'a', 'ha')], [p(0, u, 'ha', '{}')]], ['haha({})']],
  ['a name that grows', [[p(0, 'a', 'get_', '')], [p(0, 'a', W, LIMA)]], ONE],
  ['a name that begins like another', [[p(0, 'a', 'get', '')], [p(0, u, u, LIMA)]], [`get(${LIMA})`]],
  ['a name that is no tool', [[p(0, 'a', 'other', LIMA)]], [`other(${LIMA})`]],
  ['empty names after the first', [[p(0, 'a', W, HEAD)], [p(0, 'a', '', TAIL)]], ONE],
  ['a new name while a call is cut', [[p(0, u, 'f', '{"a":')], [p(0, u, 'g', '{}')]], ['f({"a":)', 'g({})']],
  ['calls without arguments', [[p(0, 'a', 'f', '')], [p(0, 'b', 'g', '')]], ['f({})', 'g({})']],
  ['calls without arguments and ids', [[p(u, u, 'f')], [p(u, u, 'g')]], ['f({})', 'g({})']],
  ['one function twice without arguments', [[p(0, 'a', 'f')], [p(0, 'b', 'f')]], ['f({})', 'f({})']],
  // Arguments
  ['arguments as an object', [[p(0, 'a', W, { city: 'Lima' })]], ONE],
  ['an empty object', [[p(0, 'a', 'f', {})]], ['f({})']],
  ['an empty list', [[p(0, 'a', 'f', [])]], ['f({})']],
  ['arguments that are null', [[p(0, 'a', 'f', n)]], ['f({})']],
  ['empty arguments', [[p(0, 'a', 'f', '')]], ['f({})']],
  ['blank arguments', [[p(0, 'a', 'f', ' ')]], ['f( {})']],
  ['null, then fragments', [[p(0, 'a', W, n)], [p(0, u, u, LIMA)]], ONE],
  ['braces and quotes in texts', [[p(0, 'a', 'f', '{"a":"}\\"{"')], [p(0, u, u, '}')]], ['f({"a":"}\\"{"})']],
  ['the whole call once more', [[p(0, 'a', W, LIMA)], [p(0, 'a', W, LIMA)]], ONE],
  ['the whole call at the end', [[p(0, 'a', W, HEAD)], [p(0, u, u, TAIL)], [p(0, 'a', W, LIMA)]], ONE],
  [
    'all calls once more at the end, without ids',
    [[p(0, 'a', W, LIMA)], [p(1, 'b', T, CUSCO)], [p(0, u, W, LIMA), p(1, u, T, CUSCO)]],
    TWO,
  ],
  // Several in one chunk
  ['both in one chunk', [[p(0, 'a', W, LIMA), p(1, 'b', T, CUSCO)]], TWO],
  ['both in one chunk without index', [[p(u, 'a', W, LIMA), p(u, 'b', T, CUSCO)]], TWO],
  ['both in one chunk, bare', [[p(u, u, 'f'), p(u, u, 'f')]], ['f({})', 'f({})']],
  ['both in one chunk with index 0', [[p(0, 'a', 'f', '{}'), p(0, 'a', 'f', '{}')]], ['f({})', 'f({})']],
  // Flat
  ['a call that is not wrapped', [[{ name: 'f', arguments: '{}' } as RawToolCall]], ['f({})']],
])('%s', (_, chunks, expected) => {
  expect(callsOf(collect(chunks)).map(({ shown, args }) => `${shown}(${args})`)).toEqual(expected);
});

test('ids are kept where they are there, once each', () => {
  const calls = callsOf(collect([[p(0, 'a', 'f', '{}'), p(1, 'a', 'g', '{}'), p(2, '', 'f', '{}')]]));
  expect(calls[0]!.id).toBe('a');
  expect(calls[1]!.id).toMatch(/^call_\w{32}$/);
  expect(calls[2]!.id).toMatch(/^call_\w{32}$/);
});

test('a known name is passed on at once, the beginning of one with its rest', () => {
  const first = collect([[p(0, 'a', W, '')], [p(0, u, u, LIMA)]]);
  expect(first[0]).toEqual({ index: 0, id: 'a', name: W, arguments: '' });
  const held = collect([[p(0, 'a', 'get_', '')], [p(0, u, 'weather', '')], [p(0, u, u, LIMA)]]);
  expect(held[0]).toEqual({ index: 0, id: 'a', name: W, arguments: '' });
});

test('without tools each name is complete', () => {
  const deltas = collect([[p(0, 'a', 'ge', '')], [p(0, u, u, '{}')]], { body: {} });
  expect(deltas[0]).toEqual({ index: 0, id: 'a', name: 'ge', arguments: '' });
});

test('a reply that was cut gets no made-up arguments', () => {
  expect(callsOf(collect([[p(0, 'a', 'f', '')]], { cut: true }))[0]!.args).toBe('');
});

test('a call that never gets a name is an error', () => {
  const error = 'made a tool call without a name';
  expect(() => collect([[p(0, 'a', u, LIMA)]])).toThrow(error);
  expect(() => collect([[p(0, 'a', 'f', LIMA)], [p(0, u, u, CUSCO)]])).toThrow(error);
});

test('more tool calls than anybody makes break the reply', () => {
  const many = Array.from({ length: 128 }, (_, index) => [p(index, u, 'f', '{}')]);
  expect(callsOf(collect(many))).toHaveLength(128);
  expect(() => collect([...many, [p(128, u, 'f', '{}')]])).toThrow('made more than 128 tool calls');
});
