import type { GenerateContext, GenerateRequest, Sink } from '../../contract.js';
import { compact } from '../../compact.js';
import { LMServError } from '../../errors.js';
import type { Logger } from '../../observe/logger.js';
import type { PoolObserver } from '../../observe/pool-observer.js';
import type { Lease } from '../../pool/pool.js';
import { ChildRefusal, type ChunkSink } from '../../../workers/child-http.js';
import type { Worker } from '../../../workers/worker.js';
import type { Chunk } from '../chunk.js';
import { hasImage } from '../../wire/images.js';
import type { ReplyReader } from '../reply-reader.js';
import { CallRepair } from './call-repair.js';
import {
  checkChildRequest,
  requireImages,
  stopFields,
  tellsStop,
  toChildRequest,
  type ChildRequest,
} from './child-request.js';
import { continuationOf } from './continuation.js';
import { demandOf, formFor, UNMET, type Demand, type Form, type ToolFunction } from './demand.js';
import {
  argumentsPrefix,
  ArgumentsReader,
  CallMissing,
  CallOrSchema,
  CallWatch,
  NAME_PREFIX,
  namesSchema,
  noRoom,
} from './forced-call.js';
import { asOnePrompt } from './infill.js';
import { rawRequest, renderPrompt } from './rendered.js';
import type { ReplySoFar } from './reply-so-far.js';
import type { Adapted } from './shaping/adapt.js';
import { isMismatch, templateRefusal, templateSentence } from './shaping/template-error.js';
import type { Template } from './shaping/template.js';
import { refuseSpecialTokens } from './special-tokens.js';

export interface GenerationOptions {
  /** false: workers evaluate each prompt from the start, so that timing reveals nothing about other callers' prompts. */
  readonly promptCache?: boolean;
  /** Client text that contains control tokens of the model is refused. */
  readonly rejectSpecialTokens?: boolean;
  /** Conversations are adapted to what the model's chat template accepts. */
  readonly messageShaping?: boolean;
  readonly observer?: PoolObserver | undefined;
}

export interface GenerationParts {
  /** Of the model. */
  readonly name: string;
  /** As the client sent it. */
  readonly request: GenerateRequest;
  readonly reply: ReplySoFar;
  readonly reader: ReplyReader;
  readonly context: GenerateContext;
  readonly sink: Sink;
  readonly template: Template;
  readonly options: GenerationOptions;
  readonly logger: Logger;
}

/**
 * One reply, however many workers it takes: fits its conversation to the model's template, and chooses the form in which
 * it is put to a worker. A form that turns out not to do is replaced by another.
 */
export class Generation {
  readonly #parts: GenerationParts;
  readonly #demand: Demand | undefined;
  #form: Form = 'chat';
  #prepared = false;
  /** The conversation is adapted as far as possible. */
  #flat = false;
  #slot: number | undefined;
  #progress: 'none' | 'sent' | 'whole' = 'none';
  /** A stop string may end the worker's part of the reply without a word about it. */
  #stopsSilently = false;
  /** Tokens of the reply before the current worker. */
  tokensBefore = 0;

  constructor(parts: GenerationParts) {
    this.#parts = parts;
    this.#demand = parts.request.kind === 'chat' ? demandOf(parts.request.body) : undefined;
  }

  /**
   * Runs the reply to its end on a worker.
   *
   * @param slot of the worker that must be used; undefined leaves it to llama.cpp.
   * @throws ChildRefusal, BadReply, WorkerFailure, LMServError, or the signal's reason.
   */
  async run(worker: Worker, slot?: Lease['slot']): Promise<void> {
    this.#slot = slot?.id;
    this.#progress = 'none';
    const { name, request, reply, reader, context, options } = this.#parts;
    checkChildRequest(request);
    requireImages(request.body, worker.supportsImages, name);
    if (options.rejectSpecialTokens === true && !reply.begun)
      await refuseSpecialTokens(request.body, (path, json) =>
        worker.fetch('POST', path, json, context.signal),
      );
    if (!this.#prepared) await this.#prepare();
    if (reply.request.body.suffix !== undefined)
      reply.request = { ...request, body: await asOnePrompt(reply.request.body, worker, context.signal) };
    // Not before the template is learned, which takes a slot.
    await slot?.restore(context);
    for (let again = true; again;) {
      const { child, chunks } = await this.#inForm(worker);
      if (reply.full) {
        if (this.#demand?.kind === 'call' && !reader.calling) throw noRoom();
        return reader.event({ type: 'finish', index: 0, reason: 'length' });
      }
      this.tokensBefore = reply.tokens;
      this.#stopsSilently = !tellsStop(child);
      this.#progress = 'sent';
      again = await this.#generate(worker, child, chunks).then(
        () => {
          this.#progress = 'whole';
          return false;
        },
        (error: unknown) => this.#recover(error),
      );
    }
    if (reader.calling) await this.#endCall(worker);
    reader.checkFinished();
    await this.#release(worker);
  }

  /** Has the rest of a call's arguments written again if the model slipped in them, and ends a reply that broke off in them. */
  async #endCall(worker: Worker): Promise<void> {
    const { name, request, reply, reader, context, sink, template, options, logger } = this.#parts;
    const { slip } = reader;
    // Without any arguments it has ended, because it needs none.
    const isMeant = reader.finished && slip?.pieces.length === 0 && slip.held === '';
    const isCut = reader.isCut || this.#stopsSilently;
    if (slip && !isMeant && !isCut && !hasImage(request.body)) {
      const repaired = await new CallRepair({
        ...{ requestId: context.requestId, signal: context.signal, reply, reader, worker, sink, logger },
        fit: async (body) =>
          options.messageShaping ? (await template.fit({ ...request, body })).body : body,
        plainPrompt: () => this.#prompt(worker),
        generate: (child, chunks) => this.#generate(worker, child, chunks),
      }).run(slip);
      options.observer?.callRepaired({ model: name, repaired });
    }
    if (!reader.finished) reader.event({ type: 'finish', index: 0, reason: 'tool_calls' });
  }

  /**
   * llama.cpp holds text back that may begin a stop string, and drops it at the limit of tokens. Generates that end
   * again, without stop strings.
   */
  async #release(worker: Worker): Promise<void> {
    const { request, reply, reader, context } = this.#parts;
    const stops = [request.body.stop ?? []].flat() as string[];
    if (stops.length === 0 || this.#form !== 'chat' || this.#demand !== undefined) return;
    if (!reader.reachedLimit || !reply.resumable || !reply.limited || reply.full) return;
    const { path, body } = await continuationOf(reply, worker, context.signal);
    // Without the ids it is not known how many tokens are missing.
    if (reply.full || !Array.isArray(body.prompt)) return;
    delete body.stop;
    reader.chunk({ usage: { completion_tokens: body.max_tokens } });
    const text = await this.#textOf(worker, { path, body });
    const found = stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0);
    const kept = text.slice(0, Math.min(text.length, ...found));
    if (kept !== '') reader.event({ type: 'text', index: 0, text: kept });
  }

  /** Whether the current worker has certainly evaluated the prompt: it has sent a token, or all of its reply. */
  get evaluated(): boolean {
    const { tokens } = this.#parts.reply;
    return this.#progress === 'whole' || (this.#progress === 'sent' && tokens > this.tokensBefore);
  }

  /** The reason for the client why the worker refused the request. */
  refusal(error: ChildRefusal): LMServError | undefined {
    const { name, context, logger } = this.#parts;
    const refusal = templateRefusal(error);
    if (!refusal) return undefined;
    const sentence = templateSentence(error.message);
    const line = { event: 'template_refused', requestId: context.requestId, model: name, sentence };
    logger.info(line, 'the chat template refused a conversation');
    return refusal;
  }

  /** Fits the request to what is known of the model's template. */
  async #prepare(): Promise<void> {
    const { request, template, options } = this.#parts;
    this.#prepared = true;
    if (options.messageShaping === true) this.#fit(await template.fit(request));
    const demand = this.#demand;
    const handler = demand && (await template.learn()).handler;
    if (handler) this.#form = formFor(demand, handler);
  }

  async #generate(worker: Worker, { path, body }: ChildRequest, reply: ChunkSink): Promise<void> {
    const { options, context } = this.#parts;
    const cachePrompt = options.promptCache === false ? false : undefined;
    const settings = compact({ ...body, cache_prompt: cachePrompt, id_slot: this.#slot });
    await worker.generate(path, settings, { signal: context.signal, flow: context.flow, reply });
  }

  /** Continues with an adapted conversation. */
  #fit({ body, kinds }: Adapted): void {
    const { name, request, reply, context, options, logger } = this.#parts;
    reply.request = { ...request, body };
    if (kinds.length === 0) return;
    const line = { event: 'conversation_adapted', requestId: context.requestId, model: name, kinds };
    logger.debug(line, 'the conversation was adapted to the chat template');
    for (const kind of kinds) options.observer?.adapted({ model: name, kind });
  }

  /** Builds the request for the worker and what reads its reply. */
  async #inForm(worker: Worker): Promise<{ child: ChildRequest; chunks: ChunkSink }> {
    const { reply, reader, context } = this.#parts;
    const demand = this.#demand;
    if (this.#form === 'chat') {
      const child = reply.begun
        ? await continuationOf(reply, worker, context.signal)
        : toChildRequest(reply.request);
      if (demand?.kind === 'form' && demand.mayCall) return { child, chunks: new CallOrSchema(reader) };
      if (demand?.kind !== 'call') return { child, chunks: reader };
      return { child, chunks: new CallWatch(reader, Number(child.body.max_tokens ?? Infinity)) };
    }
    const next = reply.next();
    const prompt = await this.#prompt(worker);
    if (this.#form === 'text') return { child: toChildRequest(rawRequest(next, { prompt })), chunks: reader };
    if (demand?.kind === 'form')
      return { child: toChildRequest(rawRequest(next, { prompt, ...demand.field })), chunks: reader };
    const tool = await this.#chooseTool(worker, prompt);
    const fields = {
      prompt: prompt + argumentsPrefix(tool.name),
      json_schema: tool.parameters ?? {},
      ...stopFields(next.body),
    };
    return {
      child: toChildRequest(rawRequest(next, fields)),
      chunks: new ArgumentsReader(reader, tool.name),
    };
  }

  /** The conversation so far as the model reads it, with an end that invites a plain reply. */
  async #prompt(worker: Worker): Promise<string> {
    const { request, reply, context } = this.#parts;
    if (hasImage(request.body)) throw unmet('image');
    const { body } = reply.next();
    const { chat_template_kwargs: given } = body;
    const unthinking = { ...(given as object | undefined), enable_thinking: false };
    const asked = this.#form === 'text' ? body : { ...body, chat_template_kwargs: unthinking };
    return renderPrompt(asked, worker, context.signal);
  }

  /** Has the model choose one of the tools that it may call. */
  async #chooseTool(worker: Worker, prompt: string): Promise<ToolFunction> {
    const { reply } = this.#parts;
    const { tools } = this.#demand as Extract<Demand, { kind: 'call' }>;
    if (tools.length === 1) return tools[0]!;
    const fields = { prompt: prompt + NAME_PREFIX, json_schema: namesSchema(tools), max_tokens: MAX_NAME };
    const text = await this.#textOf(worker, toChildRequest(rawRequest(reply.next(), fields)));
    const chosen = tools.find(({ name }) => JSON.stringify(name) === text.trim());
    if (!chosen) throw unmet('call');
    return chosen;
  }

  /** Generates a raw reply that is not passed on. */
  async #textOf(worker: Worker, child: ChildRequest): Promise<string> {
    let text = '';
    const reply = { chunk: (chunk: Chunk) => void (text += chunk.choices?.[0]?.text ?? '') };
    await this.#generate(worker, child, reply);
    return text;
  }

  /** Decides whether to go on in another form after an error, or to end with what there is; otherwise throws it. */
  #recover(error: unknown): boolean {
    if (error instanceof CallMissing && this.#form === 'chat') return this.#switchTo(this.#demand!.kind);
    if (!(error instanceof ChildRefusal)) throw error;
    if (templateSentence(error.message) !== undefined) return this.#flatten(error);
    if (!isMismatch(error.message) || this.#form !== 'chat') throw error;
    const { reply, reader, sink } = this.#parts;
    // What has come of a call stands.
    if (reader.calling) return false;
    const kind = this.#demand?.kind;
    if (kind === 'call') return this.#switchTo('call');
    if (kind === 'form' && !reply.begun) return this.#switchTo('form');
    if (kind !== undefined) throw unmet(kind, error);
    sink.event({ type: 'unparsed' });
    return this.#switchTo('text');
  }

  #switchTo(form: Form): boolean {
    const { context, logger } = this.#parts;
    const line = { event: 'reply_form', requestId: context.requestId, model: this.#parts.name, form };
    logger.debug(line, 'the reply is generated in another form');
    this.#form = form;
    return true;
  }

  /** Adapts a conversation that the template refused as far as possible. */
  #flatten(refusal: ChildRefusal): true {
    const { request, reply, template, options } = this.#parts;
    const possible = options.messageShaping === true && !this.#flat && !reply.begun;
    const adapted = possible ? template.flatten(request.body) : undefined;
    if (!adapted) throw refusal;
    this.#flat = true;
    this.#fit(adapted);
    return true;
  }
}

/** Max tokens of the name of a tool; it has at most 64 characters. */
const MAX_NAME = 80;

function unmet(kind: keyof typeof UNMET, cause?: Error): LMServError {
  return new LMServError('invalid_response', UNMET[kind], { cause });
}
