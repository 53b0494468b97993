import { readFileSync } from 'node:fs';
import {
  createServer,
  withoutWorkers,
  type CustomBackend,
  type GenerateContext,
  type ReplyEvent,
  type GenerateRequest,
  type JsonObject,
} from 'lmserv';

const words = (text: string): Set<string> => new Set(text.toLowerCase().match(/\p{L}+/gu));

/** The last message, or the prompt of a route that has no messages. */
function question({ messages, prompt }: JsonObject): string {
  const asked = Array.isArray(messages) ? (messages.at(-1) as JsonObject).content : prompt;
  return typeof asked === 'string' ? asked : JSON.stringify(asked);
}

/** Answers with the paragraph of a handbook that has most words in common with the question: no model at all. */
class Handbook implements CustomBackend {
  readonly name = 'handbook';
  readonly #paragraphs: readonly string[];
  #serving = false;

  constructor(file: string) {
    this.#paragraphs = readFileSync(file, 'utf8')
      .trim()
      .split(/\n{2,}/);
  }

  start(): void {
    this.#serving = true;
  }

  async stop(): Promise<void> {
    this.#serving = false;
  }

  status() {
    return withoutWorkers(this.#serving);
  }

  async *generate({ body }: GenerateRequest, { signal }: GenerateContext): AsyncGenerator<ReplyEvent> {
    const asked = words(question(body));
    yield { type: 'prefill', promptTokens: asked.size };
    const pieces = this.#find(asked).split(/(?= )/);
    const given = pieces.slice(0, body.max_tokens as number);
    for (const text of given) {
      signal.throwIfAborted();
      yield { type: 'text', index: 0, text };
    }
    yield { type: 'finish', index: 0, reason: given.length < pieces.length ? 'length' : 'stop' };
    const usage = { promptTokens: asked.size, completionTokens: given.length, cachedTokens: 0 };
    yield { type: 'usage', usage };
  }

  #find(asked: Set<string>): string {
    const common = (paragraph: string) => [...words(paragraph)].filter((word) => asked.has(word)).length;
    return this.#paragraphs.reduce((best, next) => (common(next) > common(best) ? next : best));
  }
}

const server = createServer({ backends: { handbook: new Handbook(process.env.HANDBOOK ?? 'README.md') } });

process.once('SIGTERM', () => void server.stop());
await server.start();
