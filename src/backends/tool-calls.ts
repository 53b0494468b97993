import { randomUUID } from 'node:crypto';
import type { Json, JsonObject, ToolCallDelta } from '../contract.js';
import { BadReply, check } from '../wire/bad-reply.js';
import { JsonPrefix } from './json-prefix.js';

/** Max tool calls of a reply. */
const MAX_CALLS = 128;

/** Max characters of a call's id or name; some gateways put a model's signed thoughts into the id. */
const MAX_LABEL = 16 * 1024;

/** A part of a tool call as servers send it. */
export interface RawToolCall {
  readonly index?: number | string | null;
  readonly id?: string | null;
  readonly function?: RawFunction | null;
}

export interface RawFunction {
  readonly name?: string | null;
  /** JSON text; some servers send the object itself. */
  readonly arguments?: Json;
}

/** A part of a call, checked; empty texts stand for what it does not have. */
interface Part {
  readonly index: number | undefined;
  readonly id: string;
  readonly name: string;
  readonly text: string;
}

interface Call {
  readonly number: number;
  /** As the server numbers it. */
  index: number | undefined;
  /** As the server names it. */
  id: string;
  name: string;
  text: ArgumentsText;
  /** Its first delta has been passed on. */
  opened: boolean;
}

/** A reply's last call whose arguments are not JSON, and the calls before it. */
export interface Slip {
  readonly name: string;
  /** What has been passed on of the arguments, as it arrived, usually one piece per token: the beginning of a JSON text. */
  readonly pieces: readonly string[];
  /** What came after that and has not been passed on. */
  readonly held: string;
  readonly before: readonly { readonly name: string; readonly arguments: string }[];
}

/**
 * Sorts the parts of tool calls into calls, whatever their server does with indexes, ids and names: an index that is
 * always 0, missing or jumps; ids that are missing, equal or change within a call; names that are repeated with each
 * part or cut in pieces. What it passes on is numbered 0, 1, 2, and each call has an id of its own and its name once.
 *
 * A part opens a new call if its index or id is new, or if it brings a name although the call before it is whole.
 */
export class ToolCalls {
  readonly #tools: ReadonlySet<string>;
  readonly #pass: (delta: ToolCallDelta) => void;
  readonly #holdsSlips: boolean;
  readonly #calls: Call[] = [];
  readonly #ids = new Set<string>();

  /**
   * @param body the request's, whose tools tell whether a name is complete.
   * @param holdsSlips the last call's arguments are passed on only as far as they are the beginning of a JSON text.
   */
  constructor(body: JsonObject, pass: (delta: ToolCallDelta) => void, holdsSlips = false) {
    this.#tools = new Set(toolNames(body));
    this.#pass = pass;
    this.#holdsSlips = holdsSlips;
  }

  /** Calls so far, including those of which nothing has been passed on. */
  get count(): number {
    return this.#calls.length;
  }

  /** Whether no call is cut. */
  get areWhole(): boolean {
    return this.#calls.every(({ text }) => text.isWhole || text.isBlank);
  }

  /** The last call if its arguments are not JSON; undefined as well if slips are not held, or no longer. */
  get slip(): Slip | undefined {
    const call = this.#calls.at(-1);
    if (!call?.text.isSlip || call.name === '') return undefined;
    const before = this.#calls.slice(0, -1).map(({ name, text }) => ({ name, arguments: text.value }));
    return { name: call.name, pieces: call.text.valid, held: call.text.held, before };
  }

  /** Drops what is held of the last call, whose arguments go on from what has been passed on. */
  backUp(): void {
    const call = this.#calls.at(-1)!;
    const valid = new ArgumentsText(true);
    for (const piece of call.text.valid) valid.add(piece);
    call.text = valid;
    if (!call.opened) this.#open(call);
  }

  /** Passes on what is held of the last call, which is not the last part of the reply, or stays as it is. */
  release(): void {
    const call = this.#calls.at(-1);
    if (!call?.text.held || call.name === '') return;
    if (!call.opened) this.#open(call);
    this.#pass({ index: call.number, arguments: call.text.release() });
  }

  /** Reads the parts that one chunk has; returns their characters. @throws BadReply */
  read(raw: readonly RawToolCall[]): number {
    // A variable of its own, because the check makes the elements of `raw` any.
    const parts = raw;
    check(Array.isArray(raw) && raw.length <= MAX_CALLS);
    // In one chunk, each part with a name is a call of its own.
    const named = new Set<Call>();
    let size = 0;
    for (const one of parts) {
      const part = readPart(one);
      const candidate = this.#candidate(part);
      const continues = candidate && !(part.name && named.has(candidate)) && this.#continues(candidate, part);
      const call = continues ? candidate : this.#add(part);
      if (part.name) named.add(call);
      this.#extend(call, part);
      size += part.id.length + part.name.length + part.text.length;
    }
    return size;
  }

  /**
   * The reply is complete: passes on what was held back. A call without arguments gets an empty object, unless the reply
   * was `cut`, because clients parse them.
   *
   * @throws BadReply for a call that never got a name.
   */
  end(cut: boolean): void {
    this.release();
    for (const call of this.#calls) {
      if (call.name === '') throw new BadReply('made a tool call without a name');
      if (!call.opened) this.#open(call);
      if (call.text.isBlank && !cut) this.#pass({ index: call.number, arguments: '{}' });
    }
  }

  /** The call that a part belongs to unless it opens a new one. */
  #candidate({ index, id, name }: Part): Call | undefined {
    const same = id === '' ? undefined : this.#calls.findLast((call) => call.id === id);
    if (same && (name === '' || index === undefined || index === (same.index ?? index))) return same;
    if (index === undefined) return this.#calls.at(-1);
    const numbered = this.#calls.findLast((call) => call.index === index);
    return numbered ?? (id === '' && name === '' ? this.#calls.at(-1) : undefined);
  }

  #continues(call: Call, { id, name, text }: Part): boolean {
    // A second object is not part of a call, whoever it belongs to.
    if (name === '') return !call.text.isWhole || text === call.text.value || !opensObject(text);
    if (call.name === '') return true;
    const renamed = id !== '' && call.id !== '' && id !== call.id;
    if (call.text.isWhole) {
      // Without ids, equal calls are two calls.
      const repeated = isBlank(text) || ((id || call.id) !== '' && text === call.text.value);
      return !renamed && name === call.name && repeated;
    }
    if (call.text.isBlank) {
      if (name === call.name) return !renamed || !isBlank(text);
      return !call.opened && this.#longerName(call.name, name) !== undefined;
    }
    return name === call.name && !(renamed && opensObject(text));
  }

  #add({ index, id }: Part): Call {
    const number = this.#calls.length;
    if (number === MAX_CALLS) throw new BadReply(`made more than ${MAX_CALLS} tool calls`);
    this.release();
    const text = new ArgumentsText(this.#holdsSlips);
    const call: Call = { number, index, id, name: '', text, opened: false };
    this.#calls.push(call);
    return call;
  }

  #extend(call: Call, { index, id, name, text }: Part): void {
    // The whole call once more.
    if (call.text.isWhole && (name !== '' || text === call.text.value)) return;
    call.index ??= index;
    call.id ||= id;
    if (name !== '' && !call.opened) call.name = this.#longerName(call.name, name) ?? call.name;
    const passable = call.text.add(text);
    if (name === '' && text === '') return;
    if (call.opened)
      return passable === '' ? undefined : this.#pass({ index: call.number, arguments: passable });
    if (call.name !== '' && (!call.text.isBlank || !this.#isBeginning(call.name))) this.#open(call);
  }

  #open(call: Call): void {
    call.opened = true;
    // Some templates' parsers give a call no id, and clients need one to answer it.
    const id = call.id === '' || this.#ids.has(call.id) ? newCallId() : call.id;
    this.#ids.add(id);
    this.#pass({ index: call.number, id, name: call.name, arguments: call.text.passable });
  }

  /** The name of a call once `more` has come; undefined if `more` is not a part of it. */
  #longerName(name: string, more: string): string | undefined {
    if (name === '') return more;
    if (name === more && this.#tools.has(name)) return name;
    const joined = name + more;
    if (this.#tools.has(joined) || this.#isBeginning(joined)) return joined;
    return more.startsWith(name) && !this.#tools.has(name) ? more : undefined;
  }

  /** Whether a tool's name begins with this and is longer. */
  #isBeginning(name: string): boolean {
    for (const tool of this.#tools) if (tool.length > name.length && tool.startsWith(name)) return true;
    return false;
  }
}

/** The arguments of a call: a JSON text that grows, and whether its object is complete. */
class ArgumentsText {
  #value = '';
  /** Undefined if nothing is held, or no longer. */
  #json: JsonPrefix | undefined;
  /** The pieces that begin a JSON text. */
  readonly valid: string[] = [];
  #held = '';
  #blank = true;
  #depth = 0;
  #inString = false;
  #escaped = false;
  #whole = false;

  /** @param holdsSlips what does not go on as JSON is held. */
  constructor(holdsSlips: boolean) {
    this.#json = holdsSlips ? new JsonPrefix() : undefined;
  }

  get value(): string {
    return this.#value;
  }

  /** All that is not held. */
  get passable(): string {
    return this.#value.slice(0, this.#value.length - this.#held.length);
  }

  get held(): string {
    return this.#held;
  }

  get isSlip(): boolean {
    return this.#held !== '' || this.#json?.isWhole === false;
  }

  get isBlank(): boolean {
    return this.#blank;
  }

  get isWhole(): boolean {
    return this.#whole;
  }

  /** Returns what may be passed on of the text: all or nothing. */
  add(text: string): string {
    this.#value += text;
    this.#blank &&= isBlank(text);
    for (let at = 0; at < text.length && !this.#whole; at += 1) this.#read(text.charCodeAt(at));
    if (this.#json === undefined) return text;
    if (this.#held === '' && this.#json.add(text)) {
      if (text !== '') this.valid.push(text);
      return text;
    }
    this.#held += text;
    return '';
  }

  /** Holds nothing any more; returns what was held. */
  release(): string {
    const held = this.#held;
    this.#held = '';
    this.#json = undefined;
    return held;
  }

  #read(code: number): void {
    if (this.#escaped) this.#escaped = false;
    else if (this.#inString) {
      if (code === BACKSLASH) this.#escaped = true;
      else if (code === QUOTE) this.#inString = false;
    } else if (code === QUOTE) this.#inString = true;
    else if (code === OPEN) this.#depth += 1;
    else if (code === CLOSE) {
      this.#depth -= 1;
      this.#whole = this.#depth === 0;
    }
  }
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN = 0x7b;
const CLOSE = 0x7d;

function readPart(raw: RawToolCall): Part {
  check(typeof raw === 'object' && raw !== null);
  const { name, arguments: given } = raw.function ?? (raw as RawFunction);
  return {
    index: readIndex(raw.index),
    id: readLabel(raw.id),
    name: readLabel(name),
    text: readArguments(given),
  };
}

function readIndex(raw: unknown): number | undefined {
  if (raw === undefined || raw === null) return undefined;
  const index = typeof raw === 'string' && /^\d{1,9}$/.test(raw) ? Number(raw) : raw;
  check(Number.isSafeInteger(index) && (index as number) >= 0);
  return index as number;
}

function readLabel(raw: unknown): string {
  // Some servers number their ids.
  const label = typeof raw === 'number' ? String(raw) : (raw ?? '');
  check(typeof label === 'string' && label.length <= MAX_LABEL);
  return label;
}

function readArguments(raw: unknown): string {
  if (typeof raw === 'string') return raw;
  if (raw === undefined || raw === null) return '';
  check(typeof raw === 'object');
  // An empty list is PHP's empty object.
  if (Array.isArray(raw)) check(raw.length === 0);
  return Array.isArray(raw) ? '{}' : JSON.stringify(raw);
}

function toolNames({ tools }: JsonObject): string[] {
  if (!Array.isArray(tools)) return [];
  const names = tools.map((tool) => ((tool as JsonObject | null)?.function as JsonObject | undefined)?.name);
  return names.filter((name) => typeof name === 'string');
}

function opensObject(text: string): boolean {
  return text.trimStart().startsWith('{');
}

function isBlank(text: string): boolean {
  return text.trim() === '';
}

/** An id for a call that has none. */
export function newCallId(): string {
  return `call_${randomUUID().replaceAll('-', '')}`;
}
