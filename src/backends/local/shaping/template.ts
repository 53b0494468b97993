import type { Capability, GenerateRequest, JsonObject, ModelFacts } from '../../../contract.js';
import { LMServError } from '../../../errors.js';
import type { Logger } from '../../../observe/logger.js';
import { WorkerFailure } from '../../../../workers/failure.js';
import type { Worker } from '../../../../workers/worker.js';
import { adapt, type Adapted } from './adapt.js';
import { STRICTEST, type HandlerFacts, type TemplateFacts } from './facts.js';
import { learnHandler, learnTemplate } from './learn.js';

/** Max time for learning, milliseconds; a question takes a few. */
const LEARN_MS = 10_000;

interface Knowledge {
  readonly template: TemplateFacts | undefined;
  readonly handler: HandlerFacts | undefined;
  readonly facts: ModelFacts;
}

const NOTHING: Knowledge = {
  template: undefined,
  handler: undefined,
  facts: { capabilities: ['chat', 'completion'] },
};

/** A model's chat template and llama.cpp's handler of it: learned from the first worker, once for all of them. */
export class Template {
  readonly #model: string;
  readonly #readyWorker: () => Worker | undefined;
  readonly #logger: Logger;
  #learning: Promise<Knowledge> | undefined;
  readonly #unlearned: Knowledge;
  /** Undefined until it is learned. */
  #known: Knowledge | undefined;

  /** @param facts what is known of the model before a worker has told more. */
  constructor(
    model: string,
    readyWorker: () => Worker | undefined,
    logger: Logger,
    facts: ModelFacts = NOTHING.facts,
  ) {
    this.#model = model;
    this.#readyWorker = readyWorker;
    this.#logger = logger;
    this.#unlearned = { ...NOTHING, facts };
  }

  /** What is known so far. */
  get known(): Knowledge {
    return this.#known ?? this.#unlearned;
  }

  /** Resolves when all is learned that can be; at once while no worker is ready. Never rejects. */
  async learn(): Promise<Knowledge> {
    const worker = this.#learning ? undefined : this.#readyWorker();
    if (worker) this.#learning = this.#learn(worker);
    return (await this.#learning) ?? NOTHING;
  }

  /** The request's body with its conversation adapted to the template. */
  async fit({ kind, body }: GenerateRequest): Promise<Adapted> {
    const { template } = kind === 'chat' ? await this.learn() : NOTHING;
    return template ? adapt(body, template) : { body, kinds: [] };
  }

  /** The body with its conversation as any template takes it; undefined if that changes nothing. */
  flatten(body: JsonObject): Adapted | undefined {
    const { template } = this.known;
    if (!template) return undefined;
    const flat = adapt(body, { ...STRICTEST, tools: template.tools });
    return flat.kinds.length > 0 ? flat : undefined;
  }

  async #learn(worker: Worker): Promise<Knowledge> {
    const signal = AbortSignal.timeout(LEARN_MS);
    const post = (path: string, body: JsonObject) => worker.fetch('POST', path, body, signal);
    let template: TemplateFacts | undefined;
    let handler: HandlerFacts | undefined;
    try {
      template = await learnTemplate(post);
      handler = template && (await learnHandler(post));
    } catch (error) {
      // The next request asks another worker; one that is slow would be slow again.
      if (error instanceof WorkerFailure || error instanceof LMServError) this.#learning = undefined;
      const line = { event: 'template_unknown', model: this.#model, err: error };
      this.#logger.warn(line, 'the chat template could not be learned');
    }
    const facts = await readFacts(worker, template, handler, signal).catch(() => NOTHING.facts);
    const { architecture } = this.#unlearned.facts;
    this.#known = { template, handler, facts: { ...facts, architecture } };
    const lacks = Object.entries({ ...template, ...handler }).flatMap(([fact, has]) => (has ? [] : fact));
    const line = { event: 'template', model: this.#model, known: template !== undefined, lacks };
    this.#logger.info(line, 'what the chat template does not take, and its handler does not enforce');
    return this.#known;
  }
}

/** What a worker knows of its model, with what was learned of its template. @throws as `Worker.fetch`. */
async function readFacts(
  worker: Worker,
  template: TemplateFacts | undefined,
  handler: HandlerFacts | undefined,
  signal: AbortSignal,
): Promise<ModelFacts> {
  const { data } = (await worker.fetch('GET', '/v1/models', undefined, signal)) as Models;
  const { n_params: parameters, size, ftype } = data?.[0]?.meta ?? {};
  return {
    capabilities: capabilitiesOf(template, handler, worker.supportsImages),
    contextLength: worker.options.ctxSize,
    sizeBytes: size,
    quantization: ftype,
    parameters,
  };
}

/** What llama.cpp says about its model. */
interface Models {
  readonly data?: readonly { readonly meta?: Meta | null }[];
}

interface Meta {
  readonly n_params?: number;
  readonly size?: number;
  readonly ftype?: string;
}

/** Only what is proven: a model calls tools if its template shows them and its handler reads the calls. */
function capabilitiesOf(
  template: TemplateFacts | undefined,
  handler: HandlerFacts | undefined,
  images: boolean,
): Capability[] {
  const capable: Record<Capability, boolean> = {
    chat: true,
    completion: true,
    embed: false,
    rerank: false,
    tools: template?.toolTurns === true && handler?.calls === true,
    json_schema: handler !== undefined,
    reasoning: handler?.reasoning === true,
    images,
  };
  return (Object.keys(capable) as Capability[]).filter((capability) => capable[capability]);
}
