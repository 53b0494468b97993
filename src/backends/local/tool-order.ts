import { createHash } from 'node:crypto';
import type { Caller, JsonObject } from '../../contract.js';
import { contentText } from './reply-so-far.js';

/** Conversations that are remembered, and names for each: 16 MiB at most, where all names are as long as they may be. */
const MAX_CONVERSATIONS = 256;
const MAX_NAMES = 512;

/** Characters of a first turn that tell a conversation from others. */
const MAX_IDENTIFYING = 65_536;

/**
 * Keeps the tools of a conversation in the order that its earlier requests had, new ones last. Templates put them at the
 * beginning of the prompt, where another order would keep all that follows from being found in the prefix cache.
 *
 * A conversation is its caller and the first turn of its user, so that no other conversation has an influence.
 */
export class ToolOrder {
  /** Conversation → names of its tools; the latest last. */
  readonly #orders = new Map<string, readonly string[]>();

  /** Returns the same body if its tools stay as they are. */
  keep(body: JsonObject, caller: Caller): JsonObject {
    const { tools, messages } = body as { tools?: Tool[]; messages?: JsonObject[] };
    const first = messages?.find(({ role }) => role === 'user');
    if (tools === undefined || !first) return body;
    const said = contentText(first.content).slice(0, MAX_IDENTIFYING);
    const id = JSON.stringify([caller.name, caller.address, said]);
    const conversation = createHash('sha256').update(id).digest('base64');
    // Of tools that are gone the places are kept: an agent may take them away for one turn.
    const order = [...new Set([...(this.#orders.get(conversation) ?? []), ...tools.map(nameOf)])];
    this.#remember(conversation, order.slice(0, MAX_NAMES));
    const places = new Map(order.map((name, at) => [name, at]));
    const placeOf = (tool: Tool) => places.get(nameOf(tool))!;
    const kept = tools.toSorted((a, b) => placeOf(a) - placeOf(b));
    return kept.every((tool, at) => tool === tools[at]) ? body : { ...body, tools: kept as never };
  }

  #remember(conversation: string, order: readonly string[]): void {
    this.#orders.delete(conversation);
    this.#orders.set(conversation, order);
    const [oldest] = this.#orders.keys();
    if (this.#orders.size > MAX_CONVERSATIONS) this.#orders.delete(oldest!);
  }
}

interface Tool {
  readonly function: { readonly name: string };
}

const nameOf = (tool: Tool): string => tool.function.name;
