import type { Json, JsonObject } from '../contract.js';
import { BadReply, check, malformed, shown } from './bad-reply.js';

/** The texts in a message's content. */
interface Content {
  readonly text: string;
  readonly reasoning: string;
}

const NONE: Content = { text: '', reasoning: '' };

/** Nesting of a content that is a list. */
const MAX_NESTING = 4;

/** Types of parts: Mistral's, OpenAI's, Anthropic's and OpenRouter's. */
const TEXT_PARTS: ReadonlySet<unknown> = new Set([undefined, null, 'text', 'output_text']);
const REASONING_PARTS: ReadonlySet<unknown> = new Set([
  'thinking',
  'reasoning',
  'reasoning_content',
  'reasoning_text',
  'reasoning.text',
  'reasoning.summary',
  'summary_text',
]);

/** Parts with nothing to read: encrypted thoughts, and Mistral's numbers of documents that no request here has. */
const SILENT_PARTS: ReadonlySet<unknown> = new Set(['redacted_thinking', 'reasoning.encrypted', 'reference']);

/** Reads content that may be a text, a part or a list of them. @throws BadReply for an unknown part. */
export function readContent(content: unknown, kind: 'text' | 'reasoning', nesting = 0): Content {
  if (content === undefined || content === null) return NONE;
  if (typeof content === 'string') return { ...NONE, [kind]: content };
  check(typeof content === 'object' && nesting < MAX_NESTING);
  if (Array.isArray(content)) {
    const parts = content.map((part) => readContent(part, kind, nesting + 1));
    return { text: joined(parts, 'text'), reasoning: joined(parts, 'reasoning') };
  }
  const { type, text, refusal, thinking, reasoning, summary, content: inner } = content as JsonObject;
  if (SILENT_PARTS.has(type)) return NONE;
  if (type === 'refusal') return { ...NONE, text: readText(refusal) };
  if (REASONING_PARTS.has(type)) {
    const read = [thinking, reasoning, text, inner, summary].map((part) =>
      readContent(part, 'reasoning', nesting + 1),
    );
    return read.find(({ text: words, reasoning: thought }) => words + thought !== '') ?? NONE;
  }
  if (!TEXT_PARTS.has(type))
    throw new BadReply(`sent content of a type that is not known here, ${shown(type)}`);
  check(text !== undefined);
  return { ...NONE, [kind]: readText(text) };
}

function joined(parts: readonly Content[], kind: 'text' | 'reasoning'): string {
  return parts.map((part) => part[kind]).join('');
}

/** Null is an empty text. @throws BadReply for anything but a text. */
export function readText(text: Json | undefined): string {
  if (text === undefined || text === null) return '';
  if (typeof text !== 'string') throw malformed();
  return text;
}
