import { z } from 'zod';
import type { JsonObject } from '../../contract.js';
import { compact } from '../../compact.js';
import { callId, MAX_MESSAGES, type Message, pairCalls, repaired, toArguments } from '../openai/messages.js';
import { text } from '../shared/fields.js';
import { imageData, imageType } from '../shared/images.js';
import { filled, list, optional } from '../shared/validate.js';
import { thinkingOf } from './thinking.js';
import type { ToolChanges } from './tools.js';

/**
 * Anthropic's conversations, as clients and agents store them. As in OpenAI's dialect, what no person wrote is repaired
 * where it cannot be tokenised, because such a turn is sent again with every request.
 */

type Words = z.ZodType<string, string>;

type Block =
  | { type: 'text'; text: string }
  | { type: 'image'; url: string }
  | { type: 'thinking'; text: string }
  | { type: 'tool_use'; id: string | undefined; name: string; arguments: string }
  | { type: 'tool_result'; id: string | undefined; content: readonly Block[]; isError: boolean }
  | { type: 'tool_reference'; name: string }
  | { type: 'tool_change'; name: string; added: boolean };

/** Between blocks that are texts of their own. */
const BLANK_LINE = '\n\n';

const textBlock = (words: Words) =>
  z
    .object({ type: z.literal('text'), text: optional(words) })
    .transform((block): Block => ({ type: 'text', text: block.text ?? '' }));

const image = z
  .object({
    type: z.literal('image'),
    source: z.object({
      type: z.literal('base64', 'must be base64; URLs and files are not fetched'),
      media_type: imageType,
      data: imageData,
    }),
  })
  .transform(({ source }): Block => ({
    type: 'image',
    url: `data:${source.media_type};base64,${source.data}`,
  }));

/** Texts of any number, from a text or text blocks. */
const textsOf = (words: Words) =>
  z
    .union([words.transform((one) => [one]), list(textBlock(words), { min: 0 }).transform(textsIn)])
    .transform((all) => all.filter((one) => one !== ''));

/** Only documents that are text: nothing here reads PDFs. */
const document = (words: Words) =>
  z
    .object({
      type: z.literal('document'),
      title: optional(words),
      context: optional(words),
      source: z.discriminatedUnion(
        'type',
        [
          z.object({ type: z.literal('text'), data: words }).transform(({ data }) => [data]),
          z
            .object({ type: z.literal('content'), content: textsOf(words) })
            .transform(({ content }) => content),
        ],
        { error: unknownType('document') },
      ),
    })
    .transform(({ title, context, source }): Block => joinedText([title, context, ...source]));

const searchResult = (words: Words) =>
  z
    .object({
      type: z.literal('search_result'),
      title: optional(words),
      source: optional(words),
      content: textsOf(words),
    })
    .transform(({ title, source, content }): Block => joinedText([title, source, ...content]));

const toolReference = z
  .object({ type: z.literal('tool_reference'), tool_name: repaired })
  .transform((block): Block => ({ type: 'tool_reference', name: block.tool_name }));

const toolResult = z
  .object({
    type: z.literal('tool_result'),
    tool_use_id: callId,
    content: contentOf(
      repaired,
      z.discriminatedUnion(
        'type',
        [textBlock(repaired), image, document(repaired), searchResult(repaired), toolReference],
        { error: unknownType('block') },
      ),
    ),
    is_error: optional(z.boolean()),
  })
  .transform((block): Block => {
    const { tool_use_id: id, content, is_error: isError = false } = block;
    return { type: 'tool_result', id, content, isError };
  });

const thinkingBlock = z
  .looseObject({ type: z.literal('thinking'), thinking: optional(z.string()) })
  .transform(({ thinking = '', signature }) => thinkingOf(thinking, signature))
  .pipe(repaired)
  .transform((thought): Block => ({ type: 'thinking', text: thought }));

/** Only Anthropic can read it. */
const redacted = z
  .object({ type: z.literal('redacted_thinking') })
  .transform((): Block => ({ type: 'thinking', text: '' }));

const toolUse = z
  .object({
    type: z.literal('tool_use'),
    id: callId,
    name: filled(repaired).transform((name) => name ?? 'unknown'),
    input: z.unknown().optional().transform(toArguments),
  })
  .transform(({ id, name, input }): Block => ({ type: 'tool_use', id, name, arguments: input }));

/** A tool that the model may call from here on, or no longer. */
const toolChange = z
  .object({
    type: z.literal(['tool_addition', 'tool_removal']),
    tool: z.object({ type: z.literal('tool_reference'), name: repaired }),
  })
  .transform(({ type, tool }): Block => ({
    type: 'tool_change',
    name: tool.name,
    added: type === 'tool_addition',
  }));

/** A text, or a list of blocks; null and nothing count as an empty list. */
function contentOf(words: Words, block: z.ZodType<Block>) {
  const blocks = z.unknown().transform(asBlock).pipe(block);
  const asList = words.transform((one): Block[] => [{ type: 'text', text: one }]);
  return optional(z.union([asList, list(blocks, { min: 0 })])).transform((content) => content ?? []);
}

function asBlock(value: unknown): unknown {
  return typeof value === 'string' ? { type: 'text', text: value } : value;
}

function unknownType(what: string) {
  return ({ input }: { input?: unknown }) => {
    const { type } = (input ?? {}) as { type?: unknown };
    return `a ${what} of the type ${JSON.stringify(type) ?? 'undefined'} is not supported here`;
  };
}

const error = unknownType('block');

const turn = z.discriminatedUnion('role', [
  z.object({
    role: z.literal('user'),
    content: contentOf(
      text,
      z.discriminatedUnion('type', [textBlock(text), image, document(text), searchResult(text), toolResult], {
        error,
      }),
    ),
  }),
  z.object({
    role: z.literal('assistant'),
    content: contentOf(
      repaired,
      z.discriminatedUnion('type', [textBlock(repaired), thinkingBlock, redacted, toolUse], { error }),
    ),
  }),
  z.object({
    role: z.literal('system'),
    content: contentOf(text, z.discriminatedUnion('type', [textBlock(text), toolChange], { error })),
  }),
]);

export const turns = list(turn, { max: MAX_MESSAGES });

export const system = filled(textsOf(text)).transform((texts = []) => texts.map(withoutBilling));

/**
 * Claude Code's first system block is for Anthropic's accounts, and differs from one conversation, or even request, to
 * the next: in the prompt it would keep all that follows it from being found in the prefix cache.
 */
function withoutBilling(block: string): string {
  return block.replace(/^x-anthropic-billing-header:[^\n]*\n?/, '');
}

type Turn = z.output<typeof turn>;

/** The conversation in OpenAI's form, and what it says about tools. */
export function toMessages(
  first: readonly string[],
  given: readonly Turn[],
): { messages: JsonObject[]; changes: ToolChanges } {
  const messages = [...systemTurn(first), ...given.flatMap(turnMessages)];
  return { messages: pairCalls(messages), changes: toolChanges(given) };
}

function systemTurn(texts: readonly string[]): Message[] {
  const content = texts.filter((one) => one !== '').join(BLANK_LINE);
  return content === '' ? [] : [{ role: 'system', content }];
}

function turnMessages({ role, content }: Turn): Message[] {
  if (role === 'system') return systemTurn(textsIn(content));
  return role === 'user' ? userMessages(content) : [assistantMessage(content)];
}

/**
 * Results of tools come first, as they must directly follow their calls. Their images go into the turn of the user: the
 * results of OpenAI's tools are text.
 */
function userMessages(content: readonly Block[]): Message[] {
  const results = content.filter((block) => block.type === 'tool_result');
  const said = [
    ...results.flatMap((result) => result.content.filter(isImage)),
    ...content.filter((block) => block.type !== 'tool_result'),
  ];
  const messages = results.map((result): Message => {
    const shown = result.content.map((block) => (isImage(block) ? IMAGE_BELOW : textOf(block)));
    const words = shown.filter((one) => one !== '').join(BLANK_LINE);
    return compact({
      role: 'tool' as const,
      content: result.isError ? `Error: ${words}` : words,
      tool_call_id: result.id,
      name: '',
    });
  });
  return results.length > 0 && said.length === 0
    ? messages
    : [...messages, { role: 'user', content: partsOf(said) }];
}

const IMAGE_BELOW = '(an image, shown below)';

/** Text alone is one text, however it is divided: agents divide the same turn differently from request to request. */
function partsOf(blocks: readonly Block[]) {
  if (!blocks.some(isImage)) return textsIn(blocks).join(BLANK_LINE);
  return blocks.map((block) =>
    isImage(block)
      ? { type: 'image_url' as const, image_url: { url: block.url } }
      : { type: 'text' as const, text: textOf(block) },
  );
}

function assistantMessage(content: readonly Block[]): Message {
  const thoughts = content
    .filter((block) => block.type === 'thinking')
    .map(textOf)
    .join('');
  const words = content
    .filter((block) => block.type === 'text')
    .map(textOf)
    .join('');
  const calls = content
    .filter((block) => block.type === 'tool_use')
    .map(({ id, name, arguments: json }) => ({ id, type: 'function', function: { name, arguments: json } }));
  return compact({
    role: 'assistant' as const,
    content: calls.length > 0 && words === '' ? null : words,
    reasoning_content: thoughts || undefined,
    tool_calls: calls.length > 0 ? calls : undefined,
  });
}

function toolChanges(given: readonly Turn[]): ToolChanges {
  const loaded: string[] = [];
  const removed = new Set<string>();
  for (const block of given.flatMap(({ content }) => content).flatMap(withInner)) {
    if (block.type === 'tool_change' && !block.added) removed.add(block.name);
    else if (block.type === 'tool_change' || block.type === 'tool_reference' || block.type === 'tool_use') {
      loaded.push(block.name);
      if (block.type === 'tool_change') removed.delete(block.name);
    }
  }
  return { loaded, removed };
}

function withInner(block: Block): readonly Block[] {
  return block.type === 'tool_result' ? block.content : [block];
}

function isImage(block: Block): block is Extract<Block, { type: 'image' }> {
  return block.type === 'image';
}

/** The texts of blocks that have one. */
function textsIn(blocks: readonly Block[]): string[] {
  return blocks.map(textOf).filter((one) => one !== '');
}

function textOf(block: Block): string {
  if (block.type === 'tool_reference') return `The tool ${block.name} can be called now.`;
  return 'text' in block ? block.text : '';
}

function joinedText(texts: readonly (string | undefined)[]): Block {
  return { type: 'text', text: texts.filter(Boolean).join(BLANK_LINE) };
}
