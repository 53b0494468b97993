import type { GenerateRequest, JsonObject, Sink } from '../../contract.js';
import { LMServError } from '../../errors.js';
import type { Logger } from '../../observe/logger.js';
import { ChildRefusal, type ChunkSink } from '../../../workers/child-http.js';
import { WorkerFailure } from '../../../workers/failure.js';
import type { Worker } from '../../../workers/worker.js';
import type { Chunk } from '../chunk.js';
import { isObject } from '../../wire/json-shape.js';
import { JsonPrefix } from '../json-prefix.js';
import type { ReplyReader } from '../reply-reader.js';
import { newCallId, type Slip } from '../tool-calls.js';
import { stopFields, toChildRequest, type ChildRequest } from './child-request.js';
import { idsOf } from './continuation.js';
import type { ToolFunction } from './demand.js';
import { argumentsPrefix, ArgumentsReader } from './forced-call.js';
import { rawRequest, renderPrompt } from './rendered.js';
import type { ReplySoFar } from './reply-so-far.js';

export interface RepairParts {
  readonly requestId: string;
  readonly signal: AbortSignal;
  readonly reply: ReplySoFar;
  readonly reader: ReplyReader;
  readonly worker: Worker;
  readonly sink: Sink;
  readonly logger: Logger;
  /** Adapts a conversation to the model's template. */
  readonly fit: (body: JsonObject) => Promise<JsonObject>;
  /** The conversation so far with an end that invites a plain reply. */
  readonly plainPrompt: () => Promise<string>;
  readonly generate: (child: ChildRequest, chunks: ChunkSink) => Promise<void>;
}

/**
 * What bounds the rest of the arguments: the schema of their tool or, where that does not allow what stands or lets the model
 * slip, JSON with the keys of the schema.
 */
const BOUNDS = ['schema', 'json'] as const;

type Bound = (typeof BOUNDS)[number];

/** Has the rest of a call's arguments written under a grammar, from the last token up to which they begin a JSON text. */
export class CallRepair {
  readonly #parts: RepairParts;

  constructor(parts: RepairParts) {
    this.#parts = parts;
  }

  /**
   * Returns whether the arguments are JSON in the end. If not, they are what came last.
   *
   * @throws WorkerFailure if the worker fails after more of the arguments has been passed on; BadReply, or the signal's reason.
   */
  async run(slip: Slip): Promise<boolean> {
    const { reader, reply, sink } = this.#parts;
    sink.event({ type: 'slip', kept: slip.pieces.join('').length, dropped: slip.held.length });
    if (beginning(slip).isWhole) reader.backUp();
    for (const bound of BOUNDS) {
      if (reader.slip === undefined || reader.isCut) break;
      reader.settle(reply.carried);
      if (reply.full) break;
      await this.#continue(reader.slip, bound);
    }
    const repaired = reader.slip === undefined;
    sink.event({ type: 'repair', repaired });
    return repaired;
  }

  async #continue(slip: Slip, bound: Bound): Promise<void> {
    const { reader, signal, generate } = this.#parts;
    const rest = new ArgumentsReader(reader, slip.name);
    let begun = false;
    const chunks = {
      chunk: (chunk: Chunk) => {
        const { text, finish_reason: reason } = chunk.choices?.[0] ?? {};
        if (!begun && (text || reason)) reader.backUp();
        begun ||= Boolean(text || reason);
        rest.chunk(chunk);
      },
    };
    try {
      await generate(await this.#request(slip, bound), chunks);
    } catch (error) {
      signal.throwIfAborted();
      const isRefusal = error instanceof ChildRefusal;
      if (begun ? !isRefusal : !(isRefusal || error instanceof WorkerFailure || error instanceof LMServError))
        throw error;
      const { requestId, logger } = this.#parts;
      const line = { event: 'repair_failed', requestId, bound, reason: (error as Error).message };
      logger.debug(line, 'the arguments of a call could not be continued');
    }
  }

  /**
   * Builds the request for the rest of the arguments: the conversation with the call as its template writes it, then the ids
   * of the tokens that stand.
   *
   * @throws ChildRefusal, WorkerFailure, or the signal's reason.
   */
  async #request(slip: Slip, bound: Bound): Promise<ChildRequest> {
    const { reply, worker, signal, plainPrompt } = this.#parts;
    const next = reply.next();
    const opening = (await this.#openingOf(slip, next)) ?? (await plainPrompt()) + argumentsPrefix(slip.name);
    // A space may be one token with what follows it.
    const before = opening.trimEnd();
    const pieces = [opening.slice(before.length), ...slip.pieces].filter((piece) => piece !== '');
    const ids = await idsOf(pieces, worker, signal);
    const prompt = ids ? [before, ...ids] : before + pieces.join('');
    const fields = { prompt, ...boundsOf(slip, bound, next.body), ...stopFields(next.body) };
    return toChildRequest(rawRequest(next, fields));
  }

  /** The prompt up to the arguments, as the template writes a call; undefined if it writes them in another form than JSON. */
  async #openingOf(slip: Slip, { body }: GenerateRequest): Promise<string | undefined> {
    const { worker, signal, fit } = this.#parts;
    const marked = { name: slip.name, arguments: JSON.stringify({ [MARK]: '' }) };
    const calls = [...slip.before, marked].map((call) => ({
      id: newCallId(),
      type: 'function',
      function: call,
    }));
    const results = calls.map(({ id }) => ({ role: 'tool', tool_call_id: id, content: MARK }));
    const messages = body.messages as JsonObject[];
    const turn = { ...messages.at(-1), tool_calls: calls };
    try {
      const fitted = await fit({ ...body, messages: [...messages.slice(0, -1), turn, ...results] });
      const prompt = await renderPrompt(fitted, worker, signal);
      const at = prompt.search(new RegExp(`\\{\\s*"${MARK}"`));
      return at < 0 ? undefined : prompt.slice(0, at);
    } catch (error) {
      if (error instanceof ChildRefusal) return undefined;
      throw error;
    }
  }
}

/** Not to be found in a conversation. */
const MARK = 'lmserv-arguments';

/** What bounds the rest of the arguments. */
function boundsOf(slip: Slip, bound: Bound, { tools }: JsonObject): JsonObject {
  const functions = ((tools ?? []) as JsonObject[]).map((tool) => tool.function as unknown as ToolFunction);
  const { parameters = {} } = functions.find(({ name }) => name === slip.name) ?? {};
  // llama.cpp bounds what follows the part that it is given.
  if (bound === 'schema') return { json_schema: parameters, generation_prompt: slip.pieces.join('') };
  return { grammar: beginning(slip).grammar(keysOf(slip, parameters)) };
}

/** The keys that the arguments may still get; undefined if their schema allows any. */
function keysOf(slip: Slip, { properties, additionalProperties: others }: JsonObject): string[] | undefined {
  if (!isObject(properties) || others === true || isObject(others)) return undefined;
  const stands = JSON.parse(slip.pieces.join('') + beginning(slip).completion) as unknown;
  return Object.keys(properties).filter((key) => !isObject(stands) || !Object.hasOwn(stands, key));
}

/** What stands of the arguments. */
function beginning({ pieces }: Slip): JsonPrefix {
  const json = new JsonPrefix();
  json.add(pieces.join(''));
  return json;
}
