import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv } from 'ajv';
import { pino } from 'pino';
import { LocalBackend } from '../../src/backends/local/backend.js';
import { renderPrompt } from '../../src/backends/local/rendered.js';
import { Template } from '../../src/backends/local/shaping/template.js';
import { templateSentence } from '../../src/backends/local/shaping/template-error.js';
import type { GenerateRequest, JsonObject } from '../../src/contract.js';
import { chatCompletions } from '../../src/dialects/openai/chat-completions.js';
import { Collector, type Choice } from '../../src/dialects/shared/collect.js';
import { LMServError } from '../../src/errors.js';
import { ROOT } from '../../src/config/root.js';
import { resolveBinary } from '../../workers/binary.js';
import { DEMO_MODEL } from '../support/live.js';
import { TestPool } from '../support/pool.js';
import { pull, testContext } from '../support/pulled.js';
import { CHOICES, CONVERSATIONS, DEMANDS, FORMS, ORDERS, SCHEMA } from './shapes.js';

/**
 * Every shape of conversation on the chat templates of real models, which llama.cpp's source brings. They run on the demo
 * model: its words are nonsense then, but what becomes of the conversation is real. TEMPLATES=sample runs a sample.
 */

const FOLDER = join(ROOT, 'vendor/llama.cpp/source/models/templates');

/** One of each family of templates and handlers. */
const SAMPLE = [
  ...[
    'CohereForAI-c4ai-command-r7b-12-2024-tool_use',
    'GigaChat3-10B-A1.8B',
    'Kimi-K2-Instruct',
    'LFM2-8B-A1B',
  ],
  ...['Mistral-Small-3.2-24B-Instruct-2506', 'NousResearch-Hermes-3-Llama-3.1-8B-tool_use', 'Qwen3.5-4B'],
  ...['deepseek-ai-DeepSeek-V3.2', 'google-gemma-2-2b-it', 'meetkai-functionary-medium-v3.2'],
  ...['meta-llama-Llama-3.1-8B-Instruct', 'mistralai-Mistral-Nemo-Instruct-2407', 'muse-glimmer'],
  ...['openai-gpt-oss-120b'],
];

const all = readdirSync(FOLDER).flatMap((file) => (file.endsWith('.jinja') ? file.slice(0, -6) : []));
const { TEMPLATES: wanted } = process.env;
const names =
  wanted === undefined
    ? all
    : all.filter((name) => (wanted === 'sample' ? SAMPLE : wanted.split(',')).includes(name));

const isColour = new Ajv().compile(SCHEMA);

/** A row for each template. */
const matrix: string[][] = [];

let fake: TestPool;

afterEach(async () => {
  fake.pool.kill();
  await fake.pool.stop();
});

afterAll(() => process.stdout.write(`${asTable()}\n`));

it.each(names)('%s', async (name) => {
  const binary = await resolveBinary({ configured: process.env.LLM_BIN_PATH, root: ROOT });
  const extraArgs = ['--jinja', '--chat-template-file', join(FOLDER, `${name}.jinja`)];
  fake = new TestPool({}, { binary, modelPath: DEMO_MODEL, ctxSize: 4096, threads: 1, extraArgs });
  await fake.ready();
  const asked = new Asked();
  const failed: string[] = [];
  const told = async (
    shapes: Readonly<Record<string, JsonObject>>,
    ask: (body: JsonObject) => Promise<string>,
  ) => {
    const cells: string[] = [];
    for (const [shape, body] of Object.entries(shapes)) {
      const cell = await ask(body);
      cells.push(cell);
      if (!PASSES.has(cell)) failed.push(`${shape}: ${cell}`);
    }
    return RANKS.find((rank) => cells.includes(rank)) ?? 'FAILED';
  };
  const row = [name];
  for (const shapes of Object.values(CONVERSATIONS))
    row.push(await told(shapes, (body) => asked.conversation(body)));
  const orders = Object.fromEntries(ORDERS.map((body) => [JSON.stringify(body.messages), body]));
  row.push(await told(orders, (body) => asked.rendering(body)));
  await told(FORMS, (body) => asked.form(body));
  await told(DEMANDS, (body) => asked.demand(body));
  matrix.push([...row, ...(await asked.enforcers())]);
  expect(failed).toEqual([]);
});

/** The cell of a group of conversations: the first of these that one of them has. */
const RANKS = ['adapted', 'ok'];

/** `cut`: max_tokens were used up first, as by reasoning; `no room`: so they were before the call, which is an error. */
const PASSES: ReadonlySet<string> = new Set([...RANKS, 'cut', 'no room']);

const asRequest = (body: JsonObject, max_tokens: number): GenerateRequest =>
  chatCompletions.parse({ ...body, max_tokens, temperature: 0 }).request!;

/** Asks the model of the current pool. */
class Asked {
  readonly #logger = pino({ level: 'silent' });
  readonly #backend = new LocalBackend('demo', fake.pool, this.#logger, { messageShaping: true });
  readonly #worker = fake.pool.workers()[0]!;
  readonly #template = new Template('demo', () => this.#worker, this.#logger);
  #unparsed = false;

  async conversation(body: JsonObject): Promise<string> {
    const { error, unparsed } = await this.#reply(asRequest(body, 6));
    if (unparsed) this.#unparsed = true;
    return error ? statusOf(error) : this.rendering(body);
  }

  /** What becomes of a conversation before anything is generated. */
  async rendering(body: JsonObject): Promise<string> {
    const rendered = await this.#rendered(asRequest(body, 6)).catch((error: Error) => error);
    if (rendered instanceof Error) return rendered.message;
    const { prompt, adapted } = rendered;
    const { messages, tools, tool_choice: choice } = body;
    const lost = wordsOf(choice === 'none' ? messages : [messages, tools]).filter(
      (word) => !prompt.includes(word),
    );
    if (lost.length > 0) return `lost ${lost.join(' ')}`;
    return adapted ? 'adapted' : 'ok';
  }

  /** What enforces schemas and calls, and whether the replies of the model can be read at all. */
  async enforcers(): Promise<string[]> {
    const { handler } = await this.#template.learn();
    const { schema, grammar, calls } = handler!;
    const by = [schema, grammar, calls].map((enforced) => (enforced ? 'llama.cpp' : 'LMServ'));
    return [...by, this.#unparsed ? 'as text' : ''];
  }

  async form(body: JsonObject): Promise<string> {
    const { choice, error, unparsed } = await this.#reply(asRequest(body, 200));
    if (!choice) return statusOf(error!);
    const { text, finishReason } = choice;
    if (body.guided_choice) return CHOICES.includes(text) && !unparsed ? 'ok' : `free text ${text}`;
    if (finishReason === 'length') return /^\s*($|\{|```)/.test(text) ? 'cut' : `free text ${text}`;
    return isColour(JSON.parse(text)) && !unparsed ? 'ok' : `free text ${text}`;
  }

  async demand(body: JsonObject): Promise<string> {
    const { choice, error } = await this.#reply(asRequest(body, 200));
    if (error?.code === 'invalid_response' && error.message.includes('max_tokens')) return 'no room';
    if (!choice) return statusOf(error!);
    const [call] = choice.toolCalls;
    if (call === undefined) return `free text ${choice.text}`;
    if (choice.finishReason === 'length') return 'cut';
    JSON.parse(call.arguments);
    const { tool_choice: asked } = body as { tool_choice: { function?: { name: string } } };
    return asked.function && asked.function.name !== call.name ? `called ${call.name}` : 'ok';
  }

  /** The conversation as the model gets it. */
  async #rendered(request: GenerateRequest): Promise<{ prompt: string; adapted: boolean }> {
    const render = (body: JsonObject) => renderPrompt(body, this.#worker, new AbortController().signal);
    const { body, kinds } = await this.#template.fit(request);
    try {
      return { prompt: await render(body), adapted: kinds.length > 0 };
    } catch (error) {
      const flat = this.#template.flatten(request.body);
      if (!flat || templateSentence((error as Error).message) === undefined) throw error;
      return { prompt: await render(flat.body), adapted: true };
    }
  }

  async #reply(
    request: GenerateRequest,
  ): Promise<{ choice?: Choice; unparsed?: boolean | undefined; error?: LMServError }> {
    const context = testContext();
    const collector = new Collector(1);
    try {
      for await (const event of pull(this.#backend, request, context)) collector.event(event);
      return { choice: collector.collected().choices[0]!, unparsed: context.trace.unparsed };
    } catch (error) {
      if (error instanceof LMServError) return { error };
      throw error;
    }
  }
}

const statusOf = ({ status, message }: LMServError): string => `${status} ${message}`;

/** Words that the model must get to read. */
function wordsOf(value: unknown): string[] {
  return [...new Set(JSON.stringify(value).match(/zq[a-z]+/g))];
}

/** The matrix in Markdown, as docs/models.md has it. */
function asTable(): string {
  const columns = ['schemas by', 'grammars by', 'calls by', 'replies of the demo model'];
  const head = ['template', ...Object.keys(CONVERSATIONS), 'every order of three turns', ...columns];
  return [head, head.map(() => '---'), ...matrix].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}
