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
import { CONVERSATIONS, DEMANDS, FORMS, SCHEMA } from './shapes.js';

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
  wanted === undefined ? all : all.filter((name) => (wanted === 'sample' ? SAMPLE : wanted).includes(name));

const isColour = new Ajv().compile(SCHEMA);

/** What became of each shape, by template. */
const matrix = new Map<string, Record<string, string>>();

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
  const cells: Record<string, string> = {};
  matrix.set(name, cells);
  const asked = new Asked();
  for (const [shape, body] of Object.entries(CONVERSATIONS)) cells[shape] = await asked.conversation(body);
  for (const [shape, body] of Object.entries(FORMS)) cells[shape] = await asked.form(body);
  for (const [shape, body] of Object.entries(DEMANDS)) cells[shape] = await asked.demand(body);
  const failed = Object.entries(cells).filter(([, cell]) => !PASSES.test(cell));
  expect(failed).toEqual([]);
});

/**
 * `ok`: as it came; `adapted`: the words are all there; `cut`: max_tokens were used up first, as by reasoning;
 * `no call`: an error, as max_tokens were used up before the call.
 */
const PASSES = /^(ok|adapted|unparsed|cut|no call)\b/;

const asRequest = (body: JsonObject, max_tokens: number): GenerateRequest =>
  chatCompletions.parse({ ...body, max_tokens, temperature: 0 }).request;

/** Asks the model of the current pool. */
class Asked {
  readonly #logger = pino({ level: 'silent' });
  readonly #backend = new LocalBackend('demo', fake.pool, this.#logger, { messageShaping: true });
  readonly #worker = fake.pool.workers()[0]!;
  readonly #template = new Template('demo', () => this.#worker, this.#logger);

  async conversation(body: JsonObject): Promise<string> {
    const request = asRequest(body, 6);
    const { fitted, adapted } = await this.#fitted(request);
    const { unparsed, error } = await this.#reply(request);
    if (error) return statusOf(error);
    const prompt = await renderPrompt(fitted, this.#worker, new AbortController().signal);
    const lost = wordsOf(body.messages).filter((word) => !prompt.includes(word));
    if (lost.length > 0) return `lost ${lost.join(' ')}`;
    const reply = adapted.length > 0 ? `adapted: ${adapted.join(', ')}` : 'ok';
    return unparsed ? `unparsed ${reply}` : reply;
  }

  async form(body: JsonObject): Promise<string> {
    const { choice, error, unparsed } = await this.#reply(asRequest(body, 200));
    if (!choice) return statusOf(error!);
    const { text, finishReason } = choice;
    if (finishReason === 'length') return /^\s*($|\{|```)/.test(text) ? 'cut' : `free text ${text}`;
    return isColour(JSON.parse(text)) && !unparsed ? 'ok' : `free text ${text}`;
  }

  async demand(body: JsonObject): Promise<string> {
    const { choice, error } = await this.#reply(asRequest(body, 200));
    if (error?.code === 'invalid_response') return `no call: ${error.message}`;
    if (!choice) return statusOf(error!);
    const [call] = choice.toolCalls;
    if (call === undefined) return `free text ${choice.text}`;
    if (choice.finishReason === 'length') return 'cut';
    JSON.parse(call.arguments);
    const { tool_choice: asked } = body as { tool_choice: { function?: { name: string } } };
    return asked.function && asked.function.name !== call.name ? `called ${call.name}` : 'ok';
  }

  /** The conversation as the model gets it. */
  async #fitted(request: GenerateRequest) {
    const { body, kinds } = await this.#template.fit(request);
    try {
      await renderPrompt(body, this.#worker, new AbortController().signal);
      return { fitted: body, adapted: kinds };
    } catch (error) {
      const flat = this.#template.flatten(request.body);
      if (!flat || templateSentence((error as Error).message) === undefined)
        return { fitted: body, adapted: kinds };
      return { fitted: flat.body, adapted: ['flat', ...flat.kinds] };
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
function wordsOf(messages: unknown): string[] {
  return [...new Set(JSON.stringify(messages).match(/zq[a-z]+/g))];
}

/** The matrix: a row for each template, a column for each shape that is not the same everywhere. */
function asTable(): string {
  const rows = [...matrix].flatMap(([name, cells]) => [
    `\n${name}`,
    ...Object.entries(cells).flatMap(([shape, cell]) => (cell === 'ok' ? [] : `  ${shape}: ${cell}`)),
  ]);
  return rows.join('\n');
}
