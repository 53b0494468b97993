import { pino } from 'pino';
import type { Chunk } from '../../../../src/backends/chunk.js';
import { Generation, type GenerationOptions } from '../../../../src/backends/local/generation.js';
import { ReplySoFar } from '../../../../src/backends/local/reply-so-far.js';
import type { HandlerFacts } from '../../../../src/backends/local/shaping/facts.js';
import type { Template } from '../../../../src/backends/local/shaping/template.js';
import { ReplyReader } from '../../../../src/backends/reply-reader.js';
import type { GenerateEvent, GenerateRequest, JsonObject } from '../../../../src/contract.js';
import { ChildRefusal, type ChunkSink } from '../../../../workers/child-http.js';
import type { Worker } from '../../../../workers/worker.js';
import { testContext } from '../../../support/pulled.js';

/** A generation over a worker that plays a script. */

/** Chunks of a reply, then an error that ends it. A function is called in between, with all events so far. */
export type Play = readonly (Chunk | Error | ((events: readonly GenerateEvent[]) => void))[];

export const said = (content: string): Chunk => ({ choices: [{ delta: { content } }] });
export const raw = (text: string): Chunk => ({ choices: [{ text }] });
export const end = (finish_reason = 'stop'): Chunk => ({ choices: [{ delta: {}, finish_reason }] });
export const called = (name: string, json = '{', index = 0): Chunk => ({
  choices: [{ delta: { tool_calls: [{ index, id: `c${index}`, function: { name, arguments: json } }] } }],
});
export const mismatch = new ChildRefusal(
  500,
  'server_error',
  'The output does not match the expected peg-native format',
);

const ALL: HandlerFacts = { schema: true, grammar: true, calls: true, reasoning: false };

export const tool = (name: string) => ({
  type: 'function',
  function: { name, parameters: { type: 'object' } },
});
export const tools = [tool('f'), tool('g')];
export const messages = [{ role: 'user', content: 'hi' }];
export const image = [
  { role: 'user', content: [{ type: 'image_url', image_url: { url: 'data:image/png;base64,' } }] },
];

export interface Setting {
  readonly handler?: HandlerFacts;
  readonly options?: GenerationOptions;
  readonly images?: boolean;
  /** The conversation as any template takes it. */
  readonly flat?: JsonObject;
  /** The tokenizer does not give back the pieces. */
  readonly unspelled?: boolean;
  /** How often it is run on the worker, as after failures. */
  readonly runs?: number;
  /** Renders a conversation. */
  readonly render?: (body: JsonObject) => string;
  readonly signal?: AbortSignal;
}

/** Runs a request on a worker that plays one reply for each time it is asked. */
export async function run(body: object, plays: readonly Play[], setting: Setting = {}) {
  const request = { kind: 'chat', n: 1, body: { messages, ...body } } as GenerateRequest;
  const events: GenerateEvent[] = [];
  const sink = { event: (event: GenerateEvent) => void events.push(event) };
  const reader = new ReplyReader(request.body, sink, () => undefined);
  const reply = new ReplySoFar(request, reader);
  const asked: { path: string; body: JsonObject }[] = [];
  const render = setting.render ?? JSON.stringify;
  const worker = {
    supportsImages: setting.images ?? false,
    async generate(path: string, sent: JsonObject, { reply: chunks }: { reply: ChunkSink }) {
      asked.push({ path, body: sent });
      for (const part of plays[asked.length - 1]!) {
        if (part instanceof Error) throw part;
        if (typeof part === 'function') part(events);
        else chunks.chunk(part);
      }
    },
    async fetch(_method: string, path: string, sent: JsonObject) {
      if (path === '/apply-template') return { prompt: render(sent) };
      const text = (sent.content as string[]).join('');
      const characters = [...(setting.unspelled ? text.toUpperCase() : text)];
      return { tokens: characters.map((piece) => ({ id: piece.codePointAt(0), piece })) };
    },
  };
  const template = {
    fit: async ({ body: given }: GenerateRequest) => ({ body: given, kinds: [] }),
    learn: async () => ({ handler: setting.handler ?? ALL }),
    flatten: () => setting.flat && { body: setting.flat, kinds: ['merged_turns'] },
  };
  const context = testContext(setting.signal && { signal: setting.signal });
  const generation = new Generation({
    ...{ name: 'm', request, reply, reader, context, sink },
    template: template as unknown as Template,
    options: setting.options ?? { messageShaping: true },
    logger: pino({ level: 'silent' }),
  });
  let thrown: unknown;
  for (let left = setting.runs ?? 1; left > 0; left -= 1)
    thrown = await generation.run(worker as unknown as Worker).then(
      () => reader.end(reply.carried),
      (error: unknown) => error,
    );
  const text = events.map((event) => (event.type === 'text' ? event.text : '')).join('');
  const types = events.map(({ type }) => type);
  return { asked, thrown, text, types, generation, events };
}
