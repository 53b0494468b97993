import type { JsonObject } from '../../src/contract.js';

/** Conversations as clients send them. Each word that begins with `zq` is one that the model must get to read, also of tools. */

const system = (content: unknown) => ({ role: 'system', content });
const user = (content: unknown) => ({ role: 'user', content });
const assistant = (content: string) => ({ role: 'assistant', content });
const call = (id: string, text: string, name = 'look') => ({
  id,
  type: 'function',
  function: { name, arguments: text },
});
const calls = (content: string | null, ...list: object[]) => ({
  role: 'assistant',
  content,
  tool_calls: list,
});
const result = (id: string, content: string) => ({ role: 'tool', tool_call_id: id, content });

export const TOOLS = ['look', 'listen'].map((name) => ({
  type: 'function',
  function: {
    name,
    description: `zqdesc${name}`,
    parameters: { type: 'object', properties: { at: { type: 'string' } }, required: ['at'] },
  },
}));
const tools = TOOLS;

const ID = 'call_8d1c0a6e5f';
const OTHER = 'call_77aa01bc42';
const one = call(ID, '{"at":"zqv"}');
const other = call(OTHER, '{"at":"zqw"}', 'listen');

/** Requests whose reply may be anything, by what is special about them. */
export const CONVERSATIONS = {
  'system messages': {
    'a system message': { messages: [system('zqs'), user('zqa')] },
    'two system messages': { messages: [system('zqs'), system('zqt'), user('zqa')] },
    'nothing but a system message': { messages: [system('zqs')] },
    'a later system message': {
      messages: [system('zqs'), user('zqa'), assistant('zqb'), system('zqt'), user('zqc')],
    },
    'a system message of parts': {
      messages: [
        system([
          { type: 'text', text: 'zqs' },
          { type: 'text', text: 'zqt' },
        ]),
        user('zqa'),
      ],
    },
    'a system message before a reply to continue': {
      messages: [system('zqs'), user('zqa'), assistant('zqb')],
    },
    'a last system message': { messages: [user('zqa'), assistant('zqb'), user('zqc'), system('zqs')] },
  },
  'turns in a row': {
    'a question': { messages: [user('zqa')] },
    'two user turns': { messages: [user('zqa'), user('zqb')] },
    'two user turns of parts': {
      messages: [user([{ type: 'text', text: 'zqa' }]), user([{ type: 'text', text: 'zqb' }])],
    },
    'two assistant turns': { messages: [user('zqa'), assistant('zqb'), assistant('zqc'), user('zqd')] },
    'a reply to continue': { messages: [user('zqa'), assistant('zqb')] },
    'reasoning in the history': {
      messages: [user('zqa'), { ...assistant('zqb'), reasoning_content: 'thoughts' }, user('zqc')],
    },
  },
  'assistant first': {
    'assistant first': { messages: [assistant('zqa'), user('zqb')] },
    'assistant first after the system': { messages: [system('zqs'), assistant('zqa'), user('zqb')] },
    'nothing but a reply to continue': { messages: [assistant('zqb')] },
  },
  tools: {
    tools: { messages: [user('zqa')], tools },
    'tools and a system message': { messages: [system('zqs'), user('zqa')], tools },
    'tools, none to be used': { messages: [user('zqa')], tools, tool_choice: 'none' },
  },
  'calls and results': {
    'a call and its result': { messages: [user('zqa'), calls(null, one), result(ID, 'zqr')], tools },
    'a call without tools': { messages: [user('zqa'), calls(null, one), result(ID, 'zqr')] },
    'a call beside text': { messages: [user('zqa'), calls('zqb', one), result(ID, 'zqr')], tools },
    'two calls': {
      messages: [user('zqa'), calls(null, one, other), result(ID, 'zqr'), result(OTHER, 'zqx')],
      tools,
    },
    'two steps': {
      messages: [
        user('zqa'),
        calls('zqb', one),
        result(ID, 'zqr'),
        calls('zqc', other),
        result(OTHER, 'zqx'),
      ],
      tools,
    },
    'steps, a reply and a question': {
      messages: [user('zqa'), calls('zqb', one), result(ID, 'zqr'), assistant('zqd'), user('zqe')],
      tools,
    },
    'a system message before a call': {
      messages: [system('zqs'), user('zqa'), calls(null, one), result(ID, 'zqr')],
      tools,
    },
    'a system message before a call without tools': {
      messages: [system('zqs'), user('zqa'), calls(null, one), result(ID, 'zqr')],
    },
    'a system message before two steps': {
      messages: [
        ...[system('zqs'), user('zqa'), calls('zqb', one), result(ID, 'zqr')],
        ...[calls('zqc', other), result(OTHER, 'zqx')],
      ],
      tools,
    },
    'a system message before parallel calls and a reply to continue': {
      messages: [
        ...[system('zqs'), user('zqa'), calls(null, one, other), result(ID, 'zqr'), result(OTHER, 'zqx')],
        assistant('zqb'),
      ],
      tools,
    },
    'system messages before and between steps': {
      messages: [
        ...[system('zqs'), system('zqt'), user('zqa'), assistant('zqb'), system('zqu'), user('zqc')],
        ...[calls(null, one), result(ID, 'zqr'), system('zqy'), calls(null, other), result(OTHER, 'zqx')],
      ],
      tools,
    },
    'a system message and a question after a result': {
      messages: [system('zqs'), user('zqa'), calls(null, one), result(ID, 'zqr'), user('zqb')],
      tools,
    },
    'a question after a result': {
      messages: [user('zqa'), calls(null, one), result(ID, 'zqr'), user('zqb')],
      tools,
    },
    'a system message after a result': {
      messages: [user('zqa'), calls(null, one), result(ID, 'zqr'), system('zqs')],
      tools,
    },
    'an empty result': { messages: [user('zqa'), calls(null, one), result(ID, '')], tools },
  },
  'odd calls': {
    'a result without its call': { messages: [user('zqa'), result(ID, 'zqr')], tools },
    'a call without its result': { messages: [user('zqa'), calls(null, one), user('zqb')], tools },
    'arguments that are no object': {
      messages: [user('zqa'), calls(null, call(ID, '"zqv"')), result(ID, 'zqr')],
      tools,
    },
  },
  'odd conversations': {
    'an empty question': { messages: [user('')] },
    'an empty system message': { messages: [system(''), user('zqa')] },
    'an empty reply to continue': { messages: [user('zqa'), assistant('')] },
    'reasoning to continue': { messages: [user('zqa'), { ...assistant(''), reasoning_content: 'hm' }] },
    'a system message and tools alone': { messages: [system('zqs')], tools },
    'a call that no question led to': { messages: [calls(null, one), result(ID, 'zqr')], tools },
    'a result alone': { messages: [result(ID, 'zqr')], tools },
    'two results of a call': {
      messages: [user('zqa'), calls(null, one), result(ID, 'zqr'), result(ID, 'zqx')],
      tools,
    },
    'reasoning beside a call': {
      messages: [
        user('zqa'),
        { ...calls('zqb', one), reasoning_content: 'hm' },
        result(ID, 'zqr'),
        assistant('zqc'),
        user('zqd'),
      ],
      tools,
    },
    'a call of a tool that is gone': {
      messages: [user('zqa'), calls(null, call(ID, '{"at":"zqv"}', 'gone')), result(ID, 'zqr'), user('zqb')],
      tools,
    },
    'a tool without description and parameters': {
      messages: [user('zqa')],
      tools: [{ type: 'function', function: { name: 'mcp__a-b.c' } }],
    },
    'nested and foreign arguments': {
      messages: [
        user('zqa'),
        calls(null, call(ID, '{"at":{"a":[1,null,true,"zqv"],"é\\"<":"zqw"}}')),
        result(ID, '{"a": "zqr", "b": [1, {"c": null}]}'),
      ],
      tools,
    },
    'words of templates': {
      messages: [
        system('zqs {{ raise }} {% if x %} </think>'),
        user('zqa {{ messages }} {% endif %} <|im_end|> [INST] <tool_call>'),
        assistant('</think> zqb [TOOL_CALLS] <|channel|>final'),
        user('zqc'),
      ],
    },
    'thirty turns': {
      messages: Array.from({ length: 31 }, (_, at) => (at % 2 ? assistant('zqb') : user('zqa'))),
    },
  },
  'everything at once': {
    'everything at once': {
      messages: [
        ...[system('zqs'), assistant('zqa'), user('zqb'), user('zqc'), calls('zqd', one, other)],
        ...[result(OTHER, 'zqx'), result(ID, 'zqr'), system('zqt'), user('zqe')],
        ...[assistant('zqf'), assistant('zqg'), user('zqh')],
      ],
      tools,
    },
  },
} as unknown as Readonly<Record<string, Readonly<Record<string, JsonObject>>>>;

const KINDS = ['system', 'user', 'assistant', 'call'] as const;
type Kind = (typeof KINDS)[number];

/** Every order of up to three turns: of the system, the user, the assistant, and of a call with its result. */
export const ORDERS: readonly JsonObject[] = [1, 2, 3]
  .flatMap((length) => ordersOf(length))
  .map((kinds) => ({ messages: kinds.flatMap(turnsOf), tools }) as unknown as JsonObject);

function ordersOf(length: number): Kind[][] {
  return length === 0
    ? [[]]
    : ordersOf(length - 1).flatMap((before) => KINDS.map((kind) => [...before, kind]));
}

function turnsOf(kind: Kind, at: number): object[] {
  const word = `zq${'abc'[at]}`;
  if (kind !== 'call') return [{ role: kind, content: word }];
  const id = `${ID}${at}`;
  return [calls(null, call(id, `{"at":"${word}"}`)), result(id, `${word}r`)];
}

export const SCHEMA = {
  type: 'object',
  properties: { colour: { enum: ['red', 'green'] } },
  required: ['colour'],
  additionalProperties: false,
};

const schema = { type: 'json_schema', json_schema: { name: 'colour', schema: SCHEMA } };
const messages = [user('Name a colour')];

export const CHOICES = ['dark red', 'green'];

/** Requests whose reply must have the form of SCHEMA, or be one of CHOICES. */
export const FORMS: Readonly<Record<string, JsonObject>> = {
  'a schema': { messages, response_format: schema },
  'a schema beside tools': { messages, tools, response_format: schema },
  'a choice': { messages, guided_choice: CHOICES },
  'a choice beside tools': { messages, tools, tool_choice: 'none', guided_choice: CHOICES },
} as unknown as Record<string, JsonObject>;

/** Requests whose reply must call a tool. */
export const DEMANDS: Readonly<Record<string, JsonObject>> = {
  'a call of any tool': { messages, tools, tool_choice: 'required' },
  'a call of one tool': { messages, tools, tool_choice: { type: 'function', function: { name: 'listen' } } },
} as unknown as Record<string, JsonObject>;
