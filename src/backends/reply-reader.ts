import type {
  FinishReason,
  JsonObject,
  ReplyEvent,
  Sink,
  TokenLogprob,
  ToolCallDelta,
  Usage,
} from '../contract.js';
import { readContent, readText } from '../wire/content.js';
import { FINISH_REASONS, readFinishReason, strongerReason } from '../wire/finish-reason.js';
import { isObject } from '../wire/json-shape.js';
import { BadReply, check, malformed, shown } from '../wire/bad-reply.js';
import { readUsage, type Chunk, type Counts, type RawChoice, type RawMessage } from './chunk.js';
import { ToolCalls, type RawToolCall, type Slip } from './tool-calls.js';

/** Max characters of a whole reply: text, reasoning and calls. No model writes that much in one reply. */
const MAX_REPLY = 16 * 1024 * 1024;

/**
 * Max events per requested token, plus an allowance for any reply: some servers send single characters, some do not count
 * reasoning. A server that ignores `max_tokens` might otherwise never end.
 */
const EVENTS_A_TOKEN = 16;
const FREE_EVENTS = 65_536;

/** Max alternatives to one token. */
const MAX_ALTERNATIVES = 100;

/** Max empty chunks in a row; some servers keep a connection alive with a few. */
const MAX_EMPTY = 10_000;

/**
 * Reads one reply of one choice from a worker, a remote server or a custom backend, and passes its events on. It trusts
 * nothing: form and order are checked, sizes are bounded, and unrequested log probabilities are dropped. It
 * remembers what it passed on, so that another worker can resume the reply.
 */
export class ReplyReader implements Sink<ReplyEvent> {
  readonly #body: JsonObject;
  readonly #sink: Sink<ReplyEvent>;
  readonly #onBegun: () => void;
  readonly #keepsText: boolean;
  readonly #wantsLogprobs: boolean;
  readonly #maxEvents: number;
  readonly #calls: ToolCalls;
  #usage: Counts | undefined;
  #promptTokens: number | undefined;
  /** Of the client's prompt, where a worker has said it before the reply is continued. */
  #cachedTokens: number | undefined;
  /** Of the first part of a reply that was put to workers in several. */
  #cachedShare: number | undefined;
  #reason: FinishReason | undefined;
  /** The stop string that ended it, if the backend tells. */
  #stop: string | undefined;
  /** Content came after a finish reason, which therefore does not mean the end. */
  #hasFalseEnd = false;
  /** Content came without a finish reason, so its server does not send one with each chunk. */
  #hasOpenContent = false;
  /** Text or a call has come. */
  #answered = false;
  /** The number of the choice that is read, as the server numbers it. */
  #choiceIndex: number | undefined;
  #tokens = 0;
  #size = 0;
  #empty = 0;
  /** Texts in the order they arrived, usually one per token. */
  readonly pieces: string[] = [];
  reasoning = '';

  /**
   * @param body the request's.
   * @param onBegun called once, after the first token or the finish of an empty reply has been passed on.
   * @param keepsText false for a backend that cannot resume: `pieces` and `reasoning` stay empty, and arguments are passed
   *   on whatever they are.
   */
  constructor(body: JsonObject, sink: Sink<ReplyEvent>, onBegun: () => void, keepsText = true) {
    this.#keepsText = keepsText;
    this.#body = body;
    this.#sink = sink;
    this.#onBegun = onBegun;
    const pass = (call: ToolCallDelta) => this.#pass({ type: 'tool_call', index: 0, call });
    this.#calls = new ToolCalls(body, pass, keepsText);
    const { logprobs, max_tokens: max } = body;
    this.#maxEvents = typeof max === 'number' ? max * EVENTS_A_TOKEN + FREE_EVENTS : Infinity;
    // A chat sets `logprobs` to true, a raw prompt to the number of alternatives, which may be 0.
    this.#wantsLogprobs = logprobs !== undefined && logprobs !== null && logprobs !== false;
  }

  /** The reply has begun: it has a token, a part of a call or a finish reason. */
  get begun(): boolean {
    return this.#tokens > 0 || this.#calls.count > 0 || this.#reason !== undefined;
  }

  /** The finish reason has come: the reply is complete, whatever happens next. */
  get finished(): boolean {
    return this.#reason !== undefined && !this.#hasFalseEnd;
  }

  /** Nothing but usage can follow: the finish reason has come, after content that had none. */
  get ended(): boolean {
    return this.finished && this.#hasOpenContent;
  }

  /** It ended at its limit of tokens. */
  get reachedLimit(): boolean {
    return this.#reason === 'length';
  }

  /** A call of a tool has been passed on. */
  get calling(): boolean {
    return this.#calls.count > 0;
  }

  /** The last call, if its arguments are not JSON. */
  get slip(): Slip | undefined {
    return this.#calls.slip;
  }

  /** It was cut short: by a limit of tokens, a filter or a stop string. */
  get isCut(): boolean {
    return this.#reason === 'length' || this.#reason === 'content_filter' || this.#stop !== undefined;
  }

  /** Tokens passed on. */
  get tokens(): number {
    return this.#tokens;
  }

  /** Undefined until the backend reports it or the first token arrives. */
  get promptTokens(): number | undefined {
    return this.#promptTokens;
  }

  /** Corrects the count of tokens upwards: one event may carry several. */
  recount(tokens: number): void {
    this.#tokens = Math.max(this.#tokens, tokens);
  }

  /**
   * The reply will be continued: what its worker has counted are its tokens so far.
   *
   * @param carried tokens that were passed on before this worker's part.
   */
  settle(carried: number): void {
    const { promptTokens, completionTokens, cachedTokens } = this.#usage ?? {};
    if (carried === 0) this.#promptTokens = promptTokens ?? this.#promptTokens;
    if (completionTokens !== undefined) this.recount(carried + completionTokens);
    this.#cachedTokens ??= cachedTokens;
    this.#cachedShare ??= this.cachedShare;
    this.#usage = undefined;
  }

  /** Takes back the finish of a slip and what is held of it. `addArguments` continues its arguments. */
  backUp(): void {
    this.#reason = undefined;
    this.#hasFalseEnd = false;
    this.#calls.backUp();
  }

  /** Reads more of the last call's arguments. @throws BadReply */
  addArguments(text: string): void {
    this.#readCalls([{ function: { arguments: text } }]);
  }

  /** Reads a chunk of OpenAI's `/v1/chat/completions` or `/v1/completions`. @throws BadReply */
  chunk(chunk: Chunk): void {
    const before = this.#size;
    const { prompt_progress: progress } = chunk;
    if (progress) this.#prefill(progress.total, progress.cache);
    const choices = chunk.choices ?? [];
    check(Array.isArray(choices));
    const choice = this.#ownChoice(choices.filter((one) => isObject(one)));
    if (choice) this.#choice(choice);
    this.#noteStop(choice?.stop_reason ?? chunk.__verbose?.stopping_word);
    const usage = readUsage(chunk, choice);
    if (usage) this.#usage = merged(this.#usage, usage);
    this.#empty = this.#size === before && !progress ? this.#empty + 1 : 0;
    if (this.#empty > MAX_EMPTY) throw new BadReply(`sent ${MAX_EMPTY} events in a row without content`);
  }

  /** @throws BadReply */
  event(event: ReplyEvent): void {
    switch (event?.type) {
      case 'text':
        return this.#text(event.text, event.logprobs);
      case 'reasoning':
        return this.#reasoning(event.text);
      case 'tool_call':
        return this.#toolCall(event.call);
      case 'finish':
        check(FINISH_REASONS.includes(event.reason));
        this.#noteStop(event.stop);
        return this.#finish(event.reason);
      case 'prefill':
        return this.#prefill(event.promptTokens);
      case 'usage':
        return this.#noteUsage(event.usage);
      default:
        throw malformed();
    }
  }

  /**
   * The reply has ended: passes on what was held back of it.
   *
   * @param regular its server said that this is the end; then text or calls need no finish reason.
   * @throws BadReply when the reply is not complete.
   */
  checkFinished(regular = false): void {
    if (this.#reason === undefined) {
      if (!regular || !this.#answered || !this.#calls.areWhole)
        throw new BadReply('ended its reply before it was finished');
      this.#reason = 'stop';
    }
    this.#calls.end(this.#reason === 'length');
  }

  /**
   * The reply is complete: passes on its finish and its usage, or an estimate if the backend sent none. The finish comes
   * this late because some servers send a finish reason with each chunk.
   *
   * @param carried tokens that other workers had passed on before this attempt.
   */
  end(carried = 0): void {
    this.#calls.release();
    const called = this.#reason === 'stop' && this.#calls.count > 0;
    const reason = called ? 'tool_calls' : this.#reason!;
    const stop = reason === 'stop' ? this.#stop : undefined;
    this.#sink.event({ type: 'finish', index: 0, reason, ...(stop !== undefined && { stop }) });
    if (this.#tokens === 0) this.#onBegun();
    this.#sink.event({ type: 'usage', usage: this.#totalUsage(carried) });
  }

  /** One choice was requested; a server that sends several sends it first, or with the lowest number. */
  #ownChoice(choices: readonly RawChoice[]): RawChoice | undefined {
    if (choices.length === 0) return undefined;
    this.#choiceIndex ??= Math.min(...choices.map(numberOf));
    return choices.find((choice) => numberOf(choice) === this.#choiceIndex);
  }

  #choice(choice: RawChoice): void {
    // First, because a reply that came in one piece and broke off can still be served by another backend.
    const reason = readFinishReason(choice.finish_reason);
    if (reason === 'unknown')
      throw new BadReply(`broke off its reply with a finish reason ${shown(choice.finish_reason)}`);
    const { text, reasoning, calls } = readChoice(choice, !this.begun);
    if (reasoning) this.#reasoning(reasoning);
    const logprobs = choice.logprobs?.content ?? undefined;
    if (text || logprobs) this.#text(text, logprobs);
    if (calls) this.#readCalls(calls);
    if (reason) this.#finish(reason);
    else if (text || reasoning || calls?.length) this.#hasOpenContent = true;
  }

  #prefill(promptTokens: number, cachedTokens?: number): void {
    check(isCount(promptTokens));
    if (this.#promptTokens !== undefined || this.#reason !== undefined) return;
    this.#promptTokens = promptTokens;
    if (isCount(cachedTokens)) this.#cachedTokens = cachedTokens;
    this.#sink.event({ type: 'prefill', promptTokens });
  }

  #text(text: string, logprobs: TokenLogprob[] | undefined): void {
    check(typeof text === 'string' && (logprobs === undefined || areLogprobs(logprobs)));
    this.#calls.release();
    this.#accept(text.length);
    if (text !== '') this.#answered = true;
    if (this.#keepsText) this.pieces.push(text);
    if (logprobs && this.#wantsLogprobs)
      this.#pass({ type: 'text', index: 0, text, logprobs: logprobs.map(nameAlternatives) });
    else this.#pass({ type: 'text', index: 0, text });
  }

  #reasoning(text: string): void {
    check(typeof text === 'string');
    this.#accept(text.length);
    if (this.#keepsText) this.reasoning += text;
    this.#pass({ type: 'reasoning', index: 0, text });
  }

  #toolCall(call: ToolCallDelta): void {
    const { index, id, name, arguments: fragment } = call ?? {};
    check(isCount(index) && (fragment === undefined || typeof fragment === 'string'));
    this.#readCalls([
      { index, id: id ?? null, function: { name: name ?? null, arguments: fragment ?? null } },
    ]);
  }

  #readCalls(calls: readonly RawToolCall[]): void {
    check(Array.isArray(calls));
    if (calls.length === 0) return;
    this.#accept(0);
    this.#accept(this.#calls.read(calls));
    this.#answered = true;
  }

  #finish(reason: FinishReason): void {
    this.#begin();
    this.#reason = strongerReason(this.#reason, reason);
  }

  /** Only a string that was requested: servers put other things here as well. */
  #noteStop(stop: unknown): void {
    if (stop && [this.#body.stop].flat().some((requested) => requested === stop)) this.#stop = stop as string;
  }

  #noteUsage(usage: Usage): void {
    check([usage?.promptTokens, usage?.completionTokens, usage?.cachedTokens].every(isCount));
    this.#usage = usage;
  }

  #pass(event: ReplyEvent): void {
    this.#tokens += 1;
    if (this.#tokens > this.#maxEvents) throw new BadReply('sent far more tokens than max_tokens');
    this.#sink.event(event);
    if (this.#tokens === 1) this.#onBegun();
  }

  /** Counts the content before it is passed on. @throws BadReply when the reply is too large. */
  #accept(size: number): void {
    this.#hasFalseEnd ||= this.#reason !== undefined;
    this.#size += size;
    if (this.#size > MAX_REPLY) throw new BadReply('sent a reply of more than 16 Mi characters');
    this.#begin();
  }

  /**
   * If the backend has not counted the prompt, the reply begins with an estimate, so that it is charged even if the client
   * leaves before the usage.
   */
  #begin(): void {
    if (this.#promptTokens === undefined)
      this.#prefill(this.#usage?.promptTokens || estimatePromptTokens(this.#body));
  }

  /** The part of the prompt that the backend found in its cache; undefined if it has not said. */
  get cachedShare(): number | undefined {
    if (this.#cachedShare !== undefined) return this.#cachedShare;
    const { promptTokens, cachedTokens = 0 } = this.#usage ?? {};
    return promptTokens ? cachedTokens / promptTokens : undefined;
  }

  /** Usage of the client's prompt and of the whole completion, whichever workers generated it. */
  #totalUsage(carried: number): Usage {
    const { promptTokens, completionTokens, cachedTokens = 0 } = this.#usage ?? {};
    const prompt = (carried === 0 ? promptTokens : undefined) ?? this.#promptTokens ?? 0;
    return {
      promptTokens: prompt,
      completionTokens: completionTokens === undefined ? this.#tokens : carried + completionTokens,
      cachedTokens: carried === 0 ? cachedTokens : Math.min(this.#cachedTokens ?? cachedTokens, prompt),
    };
  }
}

/** Average bytes of UTF-8 per token, in most languages. */
const BYTES_A_TOKEN = 4;

/** Estimates the tokens of a request's prompt when there is no count. Images and audio are left out. */
function estimatePromptTokens({ prompt, messages, tools }: JsonObject): number {
  // A list holds token ids.
  if (Array.isArray(prompt)) return prompt.length;
  return Math.max(1, Math.ceil(bytes([prompt, messages, tools]) / BYTES_A_TOKEN));
}

function bytes(value: unknown): number {
  if (typeof value === 'string') return Buffer.byteLength(value);
  if (value === null || typeof value !== 'object') return 0;
  let sum = 0;
  for (const [name, part] of Object.entries(value)) {
    if (name !== 'image_url' && name !== 'input_audio') sum += bytes(part);
  }
  return sum;
}

/** What one choice of a chunk adds to a reply. */
interface Piece {
  readonly text: string;
  readonly reasoning: string;
  readonly calls: readonly RawToolCall[] | undefined;
}

/**
 * Reads a choice. A message counts where there is no delta: with both, it repeats the reply so far.
 *
 * @param empty nothing has come yet, so that a message beside an empty delta is the reply.
 * @throws BadReply for content that would be lost.
 */
function readChoice(choice: RawChoice, empty: boolean): Piece {
  const { delta, message } = choice;
  const useMessage = message && (!delta || (empty && Object.keys(delta).length === 0));
  const from = (useMessage ? message : delta) ?? {};
  const content = from.content ?? choice.text;
  const { text, reasoning } =
    typeof content === 'string' ? { text: content, reasoning: '' } : readContent(content, 'text');
  return {
    text: text + readText(from.refusal),
    reasoning: readThoughts(from) + reasoning,
    calls: from.tool_calls ?? (from.function_call ? [{ function: from.function_call }] : undefined),
  };
}

/** The first of the names that has something: servers in transition send the same text under two of them. */
function readThoughts(from: RawMessage): string {
  const { reasoning_content: first, reasoning: second, thinking: third, reasoning_text: fourth } = from;
  const { text, reasoning } = readContent(first || second || third || fourth, 'reasoning');
  return text + reasoning;
}

/** Takes the counts that a server has sent last. */
function merged(before: Counts | undefined, now: Counts): Counts {
  return {
    promptTokens: now.promptTokens ?? before?.promptTokens,
    completionTokens: now.completionTokens ?? before?.completionTokens,
    cachedTokens: now.cachedTokens ?? before?.cachedTokens,
  };
}

function numberOf({ index }: RawChoice): number {
  const number = Number(index ?? 0);
  return Number.isSafeInteger(number) ? number : 0;
}

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;

function areLogprobs(values: unknown): boolean {
  return (
    Array.isArray(values) && values.every((value) => isLogprob(value) && areAlternatives(value.top_logprobs))
  );
}

function areAlternatives(values: unknown): boolean {
  if (values === undefined || values === null) return true;
  return Array.isArray(values) && values.length <= MAX_ALTERNATIVES && values.every(isLogprob);
}

/** Half characters, which a server can write only as U+FFFD or not at all, are named by their bytes, as OpenAI names them. */
function nameAlternatives(entry: TokenLogprob): TokenLogprob {
  if (!Array.isArray(entry.top_logprobs)) return entry;
  const named = (entry.top_logprobs as TokenLogprob[]).map((other) => {
    const { token, bytes } = other as { token: string; bytes?: unknown };
    if (!Array.isArray(bytes) || (token !== '' && !token.includes('\ufffd'))) return other;
    const raw = Buffer.from(bytes as number[]);
    return raw.equals(Buffer.from(token))
      ? other
      : { ...other, token: raw.toString('hex').replace(/../g, '\\x$&') };
  });
  return { ...entry, top_logprobs: named };
}

function isLogprob(value: unknown): value is TokenLogprob {
  const { token, logprob } = (value ?? {}) as TokenLogprob;
  return typeof token === 'string' && typeof logprob === 'number';
}
