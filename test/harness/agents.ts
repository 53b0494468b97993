import { readFileSync } from 'node:fs';
import path from 'node:path';
import { ROOT } from '../../src/config/root.js';

/**
 * Conversations of twenty turns as coding agents hold them, from what Claude Code and Codex were recorded to send: the
 * forms, headers and system texts are theirs, the long texts that the recordings leave out are filled up.
 */
export interface AgentRequest {
  readonly path: string;
  readonly body: Readonly<Record<string, unknown>>;
  /** What is different from the request before, other than the new turn; absent in most. */
  readonly change?: string | undefined;
  /** It is not a turn of the conversation. */
  readonly aside?: boolean;
}

const TURNS = 20;

type Item = Record<string, unknown>;

const recorded = (name: string) =>
  JSON.parse(readFileSync(path.join(ROOT, 'test/recorded', `${name}.json`), 'utf8'));

const WORDS =
  'the file is read and the test is run before a change is made to the code of the project '.split(' ');

/** Text of so many words that nothing else in a conversation repeats. */
const filler = (topic: string, words: number): string =>
  Array.from({ length: words }, (_, at) => (at % 9 === 0 ? `${topic}-${at}` : WORDS[at % WORDS.length])).join(
    ' ',
  );

const padded = (tool: Item): Item => ({
  ...tool,
  description: `${String(tool.description)} ${filler(String(tool.name), 90)}`,
});

/** A tool of a server that connects late. */
const LATE = {
  name: 'docs_search',
  description: filler('docs_search', 60),
  input_schema: { type: 'object', properties: { query: { type: 'string' } }, required: ['query'] },
};

/** What Claude Code changes on the way, by turn. */
const CLAUDE_CHANGES: Readonly<Record<number, string>> = {
  6: 'a deferred tool is loaded, and inserted among the others',
  11: 'a tool is added among the others',
  15: 'the tools come in another order',
  18: 'a system block is moved behind another',
};

export function claudeCode(): AgentRequest[] {
  const { common, tools, requests: first } = recorded('claude-code');
  const { stream: _, thinking: __, ...rest } = common as Item & { system: Item[] };
  const all = (tools as Item[]).map(padded);
  const [billing, ...system] = rest.system;
  const blocks = system.map((block, at) => ({
    ...block,
    text: `${String(block.text)} ${filler(`system-${at}`, 300)}`,
  }));
  const opening = (first as { messages: Item[] }[])[0]!.messages;
  const requests: AgentRequest[] = [];
  const history: Item[] = [...opening];
  for (let turn = 1; turn <= TURNS; turn += 1) {
    if (turn > 1) history.push(...claudeTurn(turn));
    const loaded = turn >= 6 ? ['WebFetch'] : [];
    const seen = all.filter(
      ({ name, defer_loading: late }) => late !== true || loaded.includes(name as string),
    );
    const offered = turn >= 11 ? [...seen.slice(0, 2), LATE, ...seen.slice(2)] : seen;
    const line = `${String(billing!.text)} cch=${String(10_000 + turn * 37)};`;
    requests.push({
      path: '/v1/messages',
      change: CLAUDE_CHANGES[turn],
      body: {
        ...rest,
        max_tokens: 8,
        temperature: 0,
        system: [{ ...billing, text: line }, ...(turn >= 18 ? blocks.toReversed() : blocks)],
        tools: turn >= 15 ? offered.toReversed() : offered,
        messages: withMarker(history),
      },
    });
    // It has another model name its conversations, between the turns.
    if (turn % 5 === 0) requests.push(title(turn));
  }
  return requests;
}

function claudeTurn(turn: number): Item[] {
  const id = `toolu_${String(turn).padStart(3, '0')}`;
  const use =
    turn === 6
      ? { type: 'tool_use', id, name: 'ToolSearch', input: { query: 'select:WebFetch' } }
      : {
          type: 'tool_use',
          id,
          name: 'Bash',
          input: { command: `cat file-${turn}`, description: 'Show it' },
        };
  const content =
    turn === 6 ? [{ type: 'tool_reference', tool_name: 'WebFetch' }] : filler(`output-${turn}`, 60);
  return [
    { role: 'assistant', content: [{ type: 'text', text: 'Let me look.' }, use] },
    { role: 'user', content: [{ type: 'tool_result', tool_use_id: id, content }] },
  ];
}

/** The last block carries the marker of Anthropic's cache, which moves on with each turn. */
function withMarker(history: readonly Item[]): Item[] {
  return history.map((message, at) => {
    const { content } = message;
    if (at < history.length - 1 || !Array.isArray(content)) return message;
    const marked = { ...(content.at(-1) as Item), cache_control: { type: 'ephemeral' } };
    return { ...message, content: [...content.slice(0, -1), marked] };
  });
}

const title = (turn: number): AgentRequest => ({
  path: '/v1/messages',
  aside: true,
  body: {
    model: 'default',
    max_tokens: 8,
    temperature: 0,
    system: `Write a title for this conversation. ${filler('title', 40)}`,
    messages: [{ role: 'user', content: `They are at turn ${turn}.` }],
  },
});

const CODEX_CHANGES: Readonly<Record<number, string>> = {
  8: 'other permissions, as a message of the developer',
  12: 'a tool is added at the end',
  16: 'a tool is added among the others',
};

export function codex(): AgentRequest[] {
  const { last } = recorded('codex') as { last: Item & { input: Item[]; tools: Item[] } };
  const { stream: _, reasoning: __, ...rest } = last;
  const tools = last.tools.map(padded);
  const { input_schema: parameters, ...late } = LATE;
  const search = { type: 'function', strict: false, ...late, parameters };
  const opening = last.input.slice(0, 4).map((item, at) => (at === 0 ? lengthened(item) : item));
  const permissions = last.input.find(({ id }) => String(id).endsWith('10'))!;
  const history: Item[] = [...opening];
  return Array.from({ length: TURNS }, (_unused, at): AgentRequest => {
    const turn = at + 1;
    if (turn === 8) history.push(permissions);
    if (turn > 1) history.push(...codexTurn(turn));
    const grown = turn >= 12 ? [...tools, search] : tools;
    const between = { ...search, name: 'docs_read' };
    const offered = turn >= 16 ? [grown[0]!, between, ...grown.slice(1)] : grown;
    return {
      path: '/v1/responses',
      change: CODEX_CHANGES[turn],
      body: {
        ...rest,
        client_metadata: { turn_id: `turn ${turn}` },
        max_output_tokens: 8,
        temperature: 0,
        tools: offered,
        input: [...history],
      },
    };
  });
}

function lengthened(item: Item): Item {
  const [part] = item.content as [Item];
  return { ...item, content: [{ ...part, text: `${String(part.text)} ${filler('instructions', 500)}` }] };
}

function codexTurn(turn: number): Item[] {
  const id = `call_${turn}`;
  return [
    {
      type: 'reasoning',
      id: `rs_${turn}`,
      summary: [],
      content: [{ type: 'reasoning_text', text: `I look at file ${turn}.` }],
      encrypted_content: null,
    },
    {
      type: 'function_call',
      name: 'exec_command',
      call_id: id,
      arguments: JSON.stringify({ cmd: `cat file-${turn}` }),
    },
    { type: 'function_call_output', call_id: id, output: filler(`output-${turn}`, 60) },
  ];
}
