import type { Json, JsonObject } from '../../../contract.js';
import { ChildRefusal } from '../../../../workers/child-http.js';
import { continuationFields } from '../child-request.js';
import type { Post } from '../special-tokens.js';
import type { HandlerFacts, TemplateFacts } from './facts.js';

/** A conversation; every text in it that begins with `zq` must turn up in the prompt. */
interface Probe {
  readonly messages: readonly JsonObject[];
  readonly tools?: true;
}

const system = (content: Json) => ({ role: 'system', content });
const user = (content: Json) => ({ role: 'user', content });
const parts = (...texts: string[]): Json => texts.map((text) => ({ type: 'text', text }));
const assistant = (content: string) => ({ role: 'assistant', content });
const result = (id: string, content: string) => ({ role: 'tool', tool_call_id: id, name: 'look', content });

function calls(
  content: string | null,
  ...made: readonly (readonly [id: string, json: string])[]
): JsonObject {
  const list = made.map(([id, json]) => ({
    id,
    type: 'function',
    function: { name: 'look', arguments: json },
  }));
  return { role: 'assistant', content, tool_calls: list };
}

const ONE = 'abcdefgh1';
const TWO = 'abcdefgh2';
const LONG = 'call_0123456789abcdef';
const ARGUMENTS = '{"at":"zqv"}';

/** A word of each part of the definition must turn up. */
const TOOL = {
  name: 'look',
  description: 'zqdescription',
  parameters: {
    type: 'object',
    properties: { at: { type: 'string', description: 'zqdetail' } },
    required: ['at'],
  },
};

/** The conversations with which each fact is learned, in this order; all of a fact's must be accepted. */
const PROBES: Readonly<Record<keyof TemplateFacts, readonly Probe[]>> = {
  tools: [{ messages: [user('zqa')], tools: true }],
  // Two steps, as an agent takes them.
  toolTurns: [
    {
      messages: [
        user('zqa'),
        calls(null, [ONE, ARGUMENTS]),
        result(ONE, 'zqr'),
        calls(null, [TWO, '{"at":"zqw"}']),
        result(TWO, 'zqx'),
        assistant('zqb'),
        user('zqc'),
      ],
    },
  ],
  system: [{ messages: [system('zqs'), user('zqa')] }],
  repeatedSystem: [{ messages: [system('zqs'), system('zqt'), user('zqa')] }],
  // Some templates show tools only beside a turn of the user.
  systemAlone: [{ messages: [system('zqs')] }, { messages: [system('zqs')], tools: true }],
  lastingSystem: [
    { messages: [system('zqs'), user('zqa'), calls(null, [ONE, ARGUMENTS]), result(ONE, 'zqr')] },
  ],
  laterSystem: [{ messages: [system('zqs'), user('zqa'), assistant('zqb'), system('zqt'), user('zqc')] }],
  textParts: [
    { messages: [user(parts('zqa', 'zqb'))] },
    { messages: [system(parts('zqs', 'zqt')), user('zqa')] },
  ],
  repeatedUser: [{ messages: [user('zqa'), user('zqb')] }],
  repeatedAssistant: [{ messages: [user('zqa'), assistant('zqb'), assistant('zqc'), user('zqd')] }],
  assistantFirst: [
    { messages: [assistant('zqa'), user('zqb')] },
    { messages: [assistant('zqa')] },
    { messages: [assistant('zqa')], tools: true },
  ],
  textBesideReasoning: [
    { messages: [user('zqa'), { ...assistant('zqb'), reasoning_content: 'thoughts' }, user('zqc')] },
  ],
  parallelCalls: [
    {
      messages: [
        user('zqa'),
        calls(null, [ONE, ARGUMENTS], [TWO, '{"at":"zqw"}']),
        result(ONE, 'zqr'),
        result(TWO, 'zqx'),
      ],
    },
  ],
  // Some templates drop the text once the turn is over.
  textBesideCalls: [
    { messages: [user('zqa'), calls('zqb', [ONE, ARGUMENTS]), result(ONE, 'zqr')] },
    {
      messages: [
        user('zqa'),
        calls('zqb', [ONE, ARGUMENTS]),
        result(ONE, 'zqr'),
        assistant('zqc'),
        user('zqd'),
      ],
    },
  ],
  userAfterResult: [
    { messages: [user('zqa'), calls(null, [ONE, ARGUMENTS]), result(ONE, 'zqr'), user('zqc')] },
  ],
  resultWithoutCall: [{ messages: [user('zqa'), { ...result(ONE, 'zqr') }] }],
  longCallIds: [{ messages: [user('zqa'), calls(null, [LONG, ARGUMENTS]), result(LONG, 'zqr')] }],
  plainArguments: [{ messages: [user('zqa'), calls(null, [ONE, '"zqv"']), result(ONE, 'zqr')] }],
  nestedArguments: [
    {
      messages: [
        user('zqa'),
        calls(null, [ONE, '{"at":{"in":"zqv"},"on":[{"by":"zqw"}]}']),
        result(ONE, 'zqr'),
      ],
    },
  ],
};

/**
 * Learns what a worker's chat template accepts: a conversation is accepted if it is rendered and no word of it is
 * missing. Undefined if the worker cannot tell, because it lacks the route or renders not even a plain question.
 *
 * @throws what `post` throws but a ChildRefusal.
 */
export async function learnTemplate(post: Post): Promise<TemplateFacts | undefined> {
  if (!(await accepts(post, { messages: [user('zqa')] }))) return undefined;
  const facts: { -readonly [Fact in keyof TemplateFacts]?: boolean } = {};
  for (const [fact, probes] of Object.entries(PROBES) as [keyof TemplateFacts, readonly Probe[]][]) {
    facts[fact] = true;
    for (const probe of probes) if (!becomesText(probe, facts)) facts[fact] &&= await accepts(post, probe);
  }
  return facts as TemplateFacts;
}

/** What the template does not take becomes text, so that no conversation with it tells anything. */
function becomesText(probe: Probe, { tools, toolTurns }: Partial<TemplateFacts>): boolean {
  return (tools === false && probe.tools === true) || (toolTurns === false && hasResult(probe));
}

/** A template shows reasoning at least where it led to a call that is being answered. */
const REASONING: Probe = {
  messages: [
    user('zqa'),
    { ...calls(null, [ONE, ARGUMENTS]), reasoning_content: 'zqthoughts' },
    result(ONE, 'zqr'),
  ],
};

const SCHEMA = {
  type: 'json_schema',
  json_schema: { name: 'field', schema: { type: 'object', properties: { zqfield: { type: 'string' } } } },
};

const GRAMMAR = 'root ::= "zqgrammar"';

const TOOLS = [{ type: 'function', function: TOOL }];

/**
 * Learns what the handler of a worker's template enforces, from the grammar with which it generates a token. Undefined if
 * the worker does not tell its grammar.
 *
 * @throws what `post` throws but a ChildRefusal.
 */
export async function learnHandler(post: Post): Promise<HandlerFacts | undefined> {
  const schema = await token(post, { response_format: SCHEMA });
  if (schema !== undefined && schema.grammar === undefined) return undefined;
  const grammar = await token(post, { grammar: GRAMMAR });
  const call = await token(post, { tools: TOOLS, tool_choice: 'required' });
  return {
    schema: schema?.grammar?.includes('zqfield') ?? false,
    // Behind the opening of a reasoning block the reply would become reasoning.
    grammar: grammar?.reasons === false && grammar.grammar?.includes('zqgrammar') === true,
    calls: call?.grammar?.includes(TOOL.name) ?? false,
    reasoning: (schema?.reasons ?? false) || (await accepts(post, REASONING)),
  };
}

/** What a reply of one token tells; a lazy grammar waits for a call, so it is none. */
interface Token {
  readonly grammar: string | undefined;
  /** It is the beginning of reasoning. */
  readonly reasons: boolean;
}

async function token(post: Post, fields: JsonObject): Promise<Token | undefined> {
  const asked = { messages: [user('Hello')], max_tokens: 1, verbose: true, ...fields };
  try {
    const { choices, __verbose: verbose } = (await post('/v1/chat/completions', asked)) as VerboseReply;
    const { grammar, grammar_lazy: lazy } = verbose?.generation_settings ?? {};
    const { reasoning_content: reasoning } = choices?.[0]?.message ?? {};
    return { grammar: grammar !== undefined && lazy === true ? '' : grammar, reasons: Boolean(reasoning) };
  } catch (error) {
    // Some handlers cannot even begin, others cannot read the token: neither is proof.
    if (error instanceof ChildRefusal) return undefined;
    throw error;
  }
}

interface VerboseReply {
  readonly choices?: readonly { readonly message?: { readonly reasoning_content?: string | null } }[];
  readonly __verbose?: {
    readonly generation_settings?: { readonly grammar?: string; readonly grammar_lazy?: boolean };
  };
}

async function accepts(post: Post, { messages, tools }: Probe): Promise<boolean> {
  const asked: JsonObject = { messages: [...messages], ...continuationFields({ messages: [...messages] }) };
  if (tools || hasResult({ messages })) asked.tools = TOOLS;
  const words = wordsOf(tools ? [asked.messages!, asked.tools!] : asked.messages!);
  try {
    const { prompt } = (await post('/apply-template', asked)) as { prompt?: unknown };
    return typeof prompt === 'string' && words.every((word) => prompt.includes(word));
  } catch (error) {
    if (error instanceof ChildRefusal) return false;
    throw error;
  }
}

const hasResult = ({ messages }: Probe): boolean => messages.some(({ role }) => role === 'tool');

function wordsOf(value: Json): string[] {
  return JSON.stringify(value).match(/zq[a-z]+/g) ?? [];
}
