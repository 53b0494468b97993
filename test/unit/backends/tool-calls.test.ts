import type { ToolCallDelta } from '../../../src/contract.js';
import { ToolCalls, type RawToolCall } from '../../../src/backends/tool-calls.js';

const TOOLS = ['f', 'g', 'get_weather', 'get_time', 'get', 'haha'];
const request = { tools: TOOLS.map((name) => ({ type: 'function', function: { name } })) };

/** A part as servers send it: its index, id, name and arguments, where they are there. */
function part(index: unknown, id?: unknown, name?: unknown, args?: unknown): RawToolCall {
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
const n = null;
const u = undefined;

test.each<[string, (readonly RawToolCall[])[], string[]]>([
  // Indexes
  ['indexes 0 and 1', [[part(0, 'a', 'get_weather', LIMA)], [part(1, 'b', 'get_time', CUSCO)]], TWO],
  [
    'an index that is always 0',
    [[part(0, 'a', 'get_weather', LIMA)], [part(0, 'b', 'get_time', CUSCO)]],
    TWO,
  ],
  ['no index', [[part(u, 'a', 'get_weather', LIMA)], [part(u, 'b', 'get_time', CUSCO)]], TWO],
  ['an index that is null', [[part(n, 'a', 'get_weather', LIMA)], [part(n, 'b', 'get_time', CUSCO)]], TWO],
  ['indexes as texts', [[part('0', 'a', 'get_weather', LIMA)], [part('1', 'b', 'get_time', CUSCO)]], TWO],
  ['indexes from 1', [[part(1, 'a', 'get_weather', LIMA)], [part(2, 'b', 'get_time', CUSCO)]], TWO],
  [
    'indexes that jump',
    [[part(7, 'a', 'get_weather', LIMA)], [part(60_000_000, 'b', 'get_time', CUSCO)]],
    TWO,
  ],
  ['falling indexes', [[part(1, 'a', 'get_weather', LIMA)], [part(0, 'b', 'get_time', CUSCO)]], TWO],
  [
    'always 0 and in fragments',
    [
      [part(0, 'a', 'get_weather', '')],
      [part(0, u, u, '{"city":')],
      [part(0, u, u, '"Lima"}')],
      [part(0, 'b', 'get_time', '')],
      [part(0, u, u, CUSCO)],
    ],
    TWO,
  ],
  [
    'no index and in fragments',
    [
      [part(u, 'a', 'get_weather', '{"city":')],
      [part(u, n, n, '"Lima"}')],
      [part(u, 'b', 'get_time', CUSCO)],
    ],
    TWO,
  ],
  [
    'an index that grows with each fragment',
    [[part(0, 'a', 'get_weather', '')], [part(1, u, u, '{"city":')], [part(2, u, u, '"Lima"}')]],
    ONE,
  ],
  [
    'an index that grows with each fragment of an id',
    [[part(0, 'a', 'get_weather', '{"city":')], [part(1, 'a', u, '"Lima"}')]],
    ONE,
  ],
  [
    'interleaved by index',
    [
      [part(0, 'a', 'get_weather', ''), part(1, 'b', 'get_time', '')],
      [part(1, u, u, '{"city":'), part(0, u, u, '{"city":')],
      [part(0, u, u, '"Lima"}')],
      [part(1, u, u, '"Cusco"}')],
    ],
    TWO,
  ],
  [
    'interleaved by id',
    [
      [part(u, 'a', 'get_weather', '{"city":')],
      [part(u, 'b', 'get_time', '{"city":')],
      [part(u, 'a', u, '"Lima"}')],
      [part(u, 'b', u, '"Cusco"}')],
    ],
    TWO,
  ],
  [
    'interleaved by id with an index that is always 0',
    [
      [part(0, 'a', 'get_weather', '{"city":')],
      [part(0, 'b', 'get_weather', '{"city":')],
      [part(0, 'a', u, '"Lima"}')],
      [part(0, 'b', u, '"Cusco"}')],
    ],
    [`get_weather(${LIMA})`, `get_weather(${CUSCO})`],
  ],
  // Ids
  ['no ids', [[part(0, u, 'get_weather', LIMA)], [part(1, u, 'get_time', CUSCO)]], TWO],
  ['empty ids', [[part(0, '', 'get_weather', LIMA)], [part(1, '', 'get_time', CUSCO)]], TWO],
  ['neither ids nor indexes', [[part(u, u, 'get_weather', LIMA)], [part(u, u, 'get_time', CUSCO)]], TWO],
  [
    'neither ids nor indexes, and the same function',
    [[part(u, u, 'f', '{}')], [part(u, u, 'f', '{}')]],
    ['f({})', 'f({})'],
  ],
  ['equal ids', [[part(0, 'x', 'get_weather', LIMA)], [part(1, 'x', 'get_time', CUSCO)]], TWO],
  ['equal ids and indexes', [[part(0, 'x', 'get_weather', LIMA)], [part(0, 'x', 'get_time', CUSCO)]], TWO],
  [
    'equal ids, indexes and functions',
    [[part(0, 'x', 'f', '{"a":1}')], [part(0, 'x', 'f', '{"a":2}')]],
    ['f({"a":1})', 'f({"a":2})'],
  ],
  [
    'equal ids in fragments',
    [
      [part(0, 'x', 'get_weather', ''), part(1, 'x', 'get_time', '')],
      [part(0, u, u, LIMA), part(1, u, u, CUSCO)],
    ],
    TWO,
  ],
  ['ids that are numbers', [[part(0, 1, 'get_weather', LIMA)], [part(0, 2, 'get_time', CUSCO)]], TWO],
  [
    'an id that changes with each fragment',
    [[part(0, 'a', 'get_weather', '')], [part(0, 'b', u, '{"city":')], [part(0, 'c', u, '"Lima"}')]],
    ONE,
  ],
  [
    'an id that changes while the name is repeated',
    [
      [part(0, 'a', 'get_weather', '')],
      [part(0, 'b', 'get_weather', '{"city":')],
      [part(0, 'c', 'get_weather', '"Lima"}')],
    ],
    ONE,
  ],
  ['an id before its name', [[part(0, 'a')], [part(0, u, 'get_weather', LIMA)]], ONE],
  ['an id after its name', [[part(0, u, 'get_weather', '')], [part(0, 'a', u, LIMA)]], ONE],
  // Names
  [
    'a name in each fragment',
    [
      [part(0, 'a', 'get_weather', '')],
      [part(0, 'a', 'get_weather', '{"city":')],
      [part(0, 'a', 'get_weather', '"Lima"}')],
      [part(0, 'a', 'get_weather', '')],
    ],
    ONE,
  ],
  [
    'a name in each fragment, without index and id',
    [[part(u, u, 'get_weather', '{"city":')], [part(u, u, 'get_weather', '"Lima"}')]],
    ONE,
  ],
  [
    'a name in pieces',
    [[part(0, 'a', 'get_', '')], [part(0, u, 'wea', '')], [part(0, u, 'ther', LIMA)]],
    ONE,
  ],
  ['a name that repeats itself', [[part(0, 'a', 'ha')], [part(0, u, 'ha', '{}')]], ['haha({})']],
  ['a name that grows', [[part(0, 'a', 'get_', '')], [part(0, 'a', 'get_weather', LIMA)]], ONE],
  ['a name that begins like another', [[part(0, 'a', 'get', '')], [part(0, u, u, LIMA)]], [`get(${LIMA})`]],
  ['a name that is no tool', [[part(0, 'a', 'other', LIMA)]], [`other(${LIMA})`]],
  [
    'empty names after the first',
    [[part(0, 'a', 'get_weather', '{"city":')], [part(0, 'a', '', '"Lima"}')]],
    ONE,
  ],
  [
    'a new name while a call is cut',
    [[part(0, u, 'f', '{"a":')], [part(0, u, 'g', '{}')]],
    ['f({"a":)', 'g({})'],
  ],
  ['calls without arguments', [[part(0, 'a', 'f', '')], [part(0, 'b', 'g', '')]], ['f({})', 'g({})']],
  ['calls without arguments and ids', [[part(u, u, 'f')], [part(u, u, 'g')]], ['f({})', 'g({})']],
  ['one function twice without arguments', [[part(0, 'a', 'f')], [part(0, 'b', 'f')]], ['f({})', 'f({})']],
  // Arguments
  ['arguments as an object', [[part(0, 'a', 'get_weather', { city: 'Lima' })]], ONE],
  ['an empty object', [[part(0, 'a', 'f', {})]], ['f({})']],
  ['an empty list', [[part(0, 'a', 'f', [])]], ['f({})']],
  ['arguments that are null', [[part(0, 'a', 'f', n)]], ['f({})']],
  ['empty arguments', [[part(0, 'a', 'f', '')]], ['f({})']],
  ['blank arguments', [[part(0, 'a', 'f', ' ')]], ['f( {})']],
  ['null, then fragments', [[part(0, 'a', 'get_weather', n)], [part(0, u, u, LIMA)]], ONE],
  [
    'braces and quotes in texts',
    [[part(0, 'a', 'f', '{"a":"}\\"{"')], [part(0, u, u, '}')]],
    ['f({"a":"}\\"{"})'],
  ],
  [
    'the whole call once more',
    [[part(0, 'a', 'get_weather', LIMA)], [part(0, 'a', 'get_weather', LIMA)]],
    ONE,
  ],
  [
    'the whole call at the end',
    [
      [part(0, 'a', 'get_weather', '{"city":')],
      [part(0, u, u, '"Lima"}')],
      [part(0, 'a', 'get_weather', LIMA)],
    ],
    ONE,
  ],
  [
    'all calls once more at the end, without ids',
    [
      [part(0, 'a', 'get_weather', LIMA)],
      [part(1, 'b', 'get_time', CUSCO)],
      [part(0, u, 'get_weather', LIMA), part(1, u, 'get_time', CUSCO)],
    ],
    TWO,
  ],
  // Several in one chunk
  ['both in one chunk', [[part(0, 'a', 'get_weather', LIMA), part(1, 'b', 'get_time', CUSCO)]], TWO],
  [
    'both in one chunk without index',
    [[part(u, 'a', 'get_weather', LIMA), part(u, 'b', 'get_time', CUSCO)]],
    TWO,
  ],
  ['both in one chunk, bare', [[part(u, u, 'f'), part(u, u, 'f')]], ['f({})', 'f({})']],
  [
    'both in one chunk with index 0',
    [[part(0, 'a', 'f', '{}'), part(0, 'a', 'f', '{}')]],
    ['f({})', 'f({})'],
  ],
  // Flat
  ['a call that is not wrapped', [[{ name: 'f', arguments: '{}' } as RawToolCall]], ['f({})']],
])('%s', (_, chunks, expected) => {
  expect(callsOf(collect(chunks)).map(({ shown, args }) => `${shown}(${args})`)).toEqual(expected);
});

test('ids are kept where they are there, once each', () => {
  const calls = callsOf(
    collect([[part(0, 'a', 'f', '{}'), part(1, 'a', 'g', '{}'), part(2, '', 'f', '{}')]]),
  );
  expect(calls[0]!.id).toBe('a');
  expect(calls[1]!.id).toMatch(/^call_\w{32}$/);
  expect(calls[2]!.id).toMatch(/^call_\w{32}$/);
});

test('a known name is passed on at once, the beginning of one with its rest', () => {
  const first = collect([[part(0, 'a', 'get_weather', '')], [part(0, u, u, LIMA)]]);
  expect(first[0]).toEqual({ index: 0, id: 'a', name: 'get_weather', arguments: '' });
  const held = collect([[part(0, 'a', 'get_', '')], [part(0, u, 'weather', '')], [part(0, u, u, LIMA)]]);
  expect(held[0]).toEqual({ index: 0, id: 'a', name: 'get_weather', arguments: '' });
});

test('without tools each name is complete', () => {
  const deltas = collect([[part(0, 'a', 'ge', '')], [part(0, u, u, '{}')]], { body: {} });
  expect(deltas[0]).toEqual({ index: 0, id: 'a', name: 'ge', arguments: '' });
});

test('a reply that was cut gets no made-up arguments', () => {
  expect(callsOf(collect([[part(0, 'a', 'f', '')]], { cut: true }))[0]!.args).toBe('');
});

test('a call that never gets a name is an error', () => {
  const error = 'made a tool call without a name';
  expect(() => collect([[part(0, 'a', u, LIMA)]])).toThrow(error);
  expect(() => collect([[part(0, 'a', 'f', LIMA)], [part(0, u, u, CUSCO)]])).toThrow(error);
});

test('more tool calls than anybody makes break the reply', () => {
  const many = Array.from({ length: 128 }, (_, index) => [part(index, u, 'f', '{}')]);
  expect(callsOf(collect(many))).toHaveLength(128);
  expect(() => collect([...many, [part(128, u, 'f', '{}')]])).toThrow('made more than 128 tool calls');
});
