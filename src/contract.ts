/**
 * The internal language of LMServ, types only. A `GenerateRequest`, a signal and a sink go down through the layers;
 * events come back up as calls of the sink, one synchronous call per token. The words are OpenAI's, because llama.cpp,
 * every remote server and most clients speak them. Only dialects translate to and from this language.
 */

export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

/** The client of a request. Made by authentication and passed to the queue, the log and the usage table. */
export interface Caller {
  /** The key's name, never the key; `anonymous` if no key was needed. */
  readonly name: string;
  /** May read all usage and use the routes for operators. */
  readonly admin: boolean;
  /** Tenants this caller may spend for and read; undefined means any. */
  readonly tenants?: readonly string[];
  /** The address of a client without a key: such clients share a name, so the queue distinguishes them by address. */
  readonly address?: string;
  /** Requests per second for this key; undefined means the server's RATE_LIMIT_QPS. */
  readonly rateLimitQps?: number;
}

/** `chat`: messages through the model's chat template. `raw`: an unchanged prompt without a template. */
export type GenerateKind = 'chat' | 'raw';

/** What a chat or prompt gets where its request leaves it open. */
export interface RequestDefaults {
  /** Fields of a body. */
  readonly sampling?: JsonObject | undefined;
  /** The system message of a chat that has none. */
  readonly system?: string | undefined;
}

export interface GenerateRequest {
  readonly kind: GenerateKind;
  /** The model or group as the client named it; undefined means the default one. */
  readonly model?: string | undefined;
  /** How many choices to generate, 1 or more; with several prompts, of all of them together. */
  readonly n: number;
  /** The prompts of a raw request that has several, instead of `body.prompt`; each has as many choices as the others. */
  readonly prompts?: readonly Json[] | undefined;
  /**
   * OpenAI's request body for `/v1/chat/completions` (chat) or `/v1/completions` (raw), reduced to allow-listed and
   * validated fields; without `model`, `n`, `stream` and `stream_options`, which the layers below decide.
   */
  readonly body: JsonObject;
  /** Of the route's contract; those of the model come before them. */
  readonly defaults?: RequestDefaults | undefined;
  /** An unknown model name is served by the default model instead of failing. */
  readonly unknownModel?: 'default' | undefined;
  /** The provider that must serve it: `cloud`, `mock` or another configured name; undefined means any with the model. */
  readonly provider?: string | undefined;
  /** The tenant that pays, as the client named it (`tenant_id`); undefined means the caller's name. */
  readonly tenant?: string | undefined;
  /** Max time for the whole generation including waiting, milliseconds; then it fails with `provider_timeout`. */
  readonly deadlineMs?: number | undefined;
  /** Priority in the queue for a slot: -1 is behind all others, 1 ahead of the caller's others; undefined means 0. */
  readonly priority?: number | undefined;
  /** false: no other worker resumes the reply when its worker fails. */
  readonly resume?: boolean | undefined;
  /** Tokens that the client wants room for, prompt and reply together; a model with less context refuses. */
  readonly contextLength?: number | undefined;
}

/** What a model is for: writing, turning texts into vectors, or rating documents. */
export type ModelTask = 'chat' | 'embed' | 'rerank';

/** A text, or the ids of its tokens. */
export type EvaluationInput = string | readonly number[];

/** What a model is asked to compute instead of writing: the vectors of inputs, or how well documents answer a query. */
export type EvaluationRequest = {
  /** The model or group as the client named it; undefined means the default one, or else the first that can. */
  readonly model?: string | undefined;
  /** As in `GenerateRequest`. */
  readonly tenant?: string | undefined;
  /** As in `GenerateRequest`. */
  readonly priority?: number | undefined;
} & (
  | {
      readonly task: 'embed';
      /** At least one, and none is empty. */
      readonly inputs: readonly EvaluationInput[];
      /** A text that is too long loses its end, where the backend knows its tokens; otherwise it fails the request. */
      readonly truncate?: boolean | undefined;
      /** How many numbers each vector shall have; undefined means all. */
      readonly dimensions?: number | undefined;
    }
  | { readonly task: 'rerank'; readonly query: string; readonly documents: readonly string[] }
);

/** All numbers are finite. */
export interface Evaluation {
  /** A vector for each input, or for each document one number, higher for a better one; in the order of the request. */
  readonly vectors: readonly ArrayLike<number>[];
  readonly promptTokens: number;
}

/** A question about a model's tokens. It takes no slot and costs nothing. */
export type TokenQuestion = { readonly model?: string | undefined } &
  /** How many tokens the prompt of a chat has: a number. */
  (
    | { readonly about: 'prompt'; readonly request: GenerateRequest }
    /** The tokens of a text: a list of ids, or of `{id, piece}`; a piece that is not UTF-8 is a list of bytes. */
    | {
        readonly about: 'text';
        readonly text: string;
        /** Adds the tokens that the model expects at the beginning or end of each text. */
        readonly addSpecial: boolean;
        /** Takes the names of control tokens in the text for these tokens. */
        readonly parseSpecial: boolean;
        readonly withPieces: boolean;
      }
    /** The text of tokens: a string. */
    | { readonly about: 'tokens'; readonly tokens: readonly number[] }
  );

export type FinishReason = 'stop' | 'length' | 'tool_calls' | 'content_filter';

export interface ToolCallDelta {
  /** Position of the call in the message. */
  readonly index: number;
  /** Present on the first delta of a call. */
  readonly id?: string;
  readonly name?: string;
  /** A fragment of the arguments' JSON text. */
  readonly arguments?: string;
}

/** OpenAI's shape of one token's log probability, passed through as the backend sent it. */
export type TokenLogprob = JsonObject;

export interface Usage {
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** Prompt tokens found in the prefix cache; included in promptTokens. */
  readonly cachedTokens: number;
}

/** What a reply consists of: the events that dialects encode. */
export type ReplyEvent =
  /** The backend has begun to evaluate the prompt. Nothing is on the wire yet, so another backend may still take over. */
  | { readonly type: 'prefill'; readonly promptTokens: number }
  | {
      readonly type: 'text';
      readonly index: number;
      readonly text: string;
      readonly logprobs?: TokenLogprob[];
    }
  | { readonly type: 'reasoning'; readonly index: number; readonly text: string }
  | { readonly type: 'tool_call'; readonly index: number; readonly call: ToolCallDelta }
  /** One per choice. `stop` is the stop string that ended it, where the backend tells. */
  | {
      readonly type: 'finish';
      readonly index: number;
      readonly reason: FinishReason;
      readonly stop?: string | undefined;
    }
  /** The last event, once. */
  | { readonly type: 'usage'; readonly usage: Usage };

/** The progress of a reply: facts for the trace, a few per request. */
export type ProgressEvent =
  /** A backend is about to be tried; `again`: after another one failed. */
  | { readonly type: 'attempt'; readonly model: string; readonly backend: string; readonly again: boolean }
  /** The request has to wait for a slot; `position` is its position in the queue, 1 being next. */
  | { readonly type: 'queued'; readonly position: number }
  /** The state of the model when the request reached it. */
  | { readonly type: 'model'; readonly state: ModelState }
  /** The model that the request waits for is being loaded; `percent` is an estimate, absent without a load to compare. */
  | { readonly type: 'loading'; readonly percent?: number | undefined }
  /** The wait is over, with or without a slot. */
  | { readonly type: 'dequeued' }
  /** A worker has the request; `expectedPrefix` is how many leading characters of the prompt its cache should hold. */
  | {
      readonly type: 'started';
      readonly worker: string;
      readonly expectedPrefix: number;
      readonly departure?: Departure | undefined;
    }
  /** The backend tries again; `resumed`: it continues a reply that had begun. */
  | { readonly type: 'retry'; readonly resumed: boolean }
  /** The reply does not have the form that its model's chat template gives replies; its text follows as it is. */
  | { readonly type: 'unparsed' }
  /** The arguments of a call are not JSON; of their characters, those are kept that begin a JSON text, and the rest is dropped. */
  | { readonly type: 'slip'; readonly kept: number; readonly dropped: number }
  /** The rest of such arguments has been written again; `repaired`: they are JSON now. */
  | { readonly type: 'repair'; readonly repaired: boolean };

/** Where a prompt departs from an earlier one, so that what follows is not found in the prefix cache. */
export interface Departure {
  /** Leading characters that both have in common, of tools and messages as JSON; at least this many. */
  readonly at: number;
  /** Where the next characters are, such as `tools[3]` or `messages[0]` of the request in OpenAI's form. */
  readonly in: readonly string[];
}

export type GenerateEvent = ReplyEvent | ProgressEvent;

/** What a client may be told while it waits. */
export type WaitEvent = Extract<ProgressEvent, { readonly type: 'queued' | 'loading' }>;

/** Receives the events of a generation. */
export interface Sink<E extends GenerateEvent = GenerateEvent> {
  /** Called synchronously, once per event. What it throws ends the generation. */
  event(event: E): void;
}

/** Something that produces events and can be held back; both calls are idempotent. */
export interface FlowSource {
  pause(): void;
  resume(): void;
}

/** Back-pressure: a client that reads slowly holds back the sources of its reply. */
export interface Flow {
  readonly held: boolean;
  /** Holds `source` back whenever the client does, from now on; returns a function that detaches it. */
  attach(source: FlowSource): () => void;
}

/** The distribution of the times between the tokens of a generation, counted within each choice. */
export interface TokenGaps {
  /** How many gaps fell into each bucket; the buckets are `GAP_BOUNDS_MS` of `src/observe/token-gaps.ts`. */
  readonly counts: Uint32Array;
  /** Sum of all gaps, milliseconds. */
  readonly sumMs: number;
}

/**
 * The result of one generation. Only `generate/trace.ts` writes it, from the events; the request log, the usage table
 * and the metrics read it.
 */
export interface Trace {
  /** Id of the model that generated the reply. */
  model?: string;
  backend?: string;
  worker?: string;
  /** Milliseconds spent waiting for a slot; with several choices, the time during which at least one of them waited. */
  queueMs?: number;
  /** Position in the queue when it began to wait, 1 being next; absent if it did not wait. */
  queuePosition?: number;
  /** The state of the first local model that it reached, on arrival. */
  modelState?: ModelState;
  /** Milliseconds from the start of the generation to its first token. */
  firstTokenMs?: number;
  /** Milliseconds from the first token to the last. */
  decodeMs?: number;
  tokenGaps?: TokenGaps;
  promptTokens: number;
  /** Counted as they are delivered; replaced by the backend's own count when that arrives. */
  completionTokens: number;
  cachedTokens: number;
  finishReason?: FinishReason;
  /** Backends or workers tried; 1 if the first one succeeded. */
  attempts: number;
  /** How often another worker resumed the reply. */
  resumes?: number;
  /** The reply is the model's text as it is, because it does not have the form of its chat template. */
  unparsed?: true;
  /** How many of its calls had arguments that were not JSON and are now. */
  repairs?: number;
}

/** The slots of a request with several choices. The choices wait together, and do not time out while one of them runs. */
export interface RequestSlots {
  /** Slots that its choices hold now. */
  held: number;
  /** `performance.now()` when a choice last gave its slot back; absent before that. */
  releasedAt?: number;
}

export interface GenerateContext {
  readonly requestId: string;
  readonly caller: Caller;
  /** Aborts when the client disconnects or the server shuts down: the generation stops and its slot becomes free. */
  readonly signal: AbortSignal;
  readonly flow: Flow;
  /** State shared by the choices of this request while they wait for slots; absent for a single choice. */
  readonly slots?: RequestSlots;
  /** Another backend could serve this, so a full one refuses at once instead of letting the request wait. */
  readonly mayFallBack?: boolean;
}

/** The context of a whole request. */
export interface RequestScope extends GenerateContext {
  readonly trace: Trace;
  /** Aborts `signal` and with it everything done for the request. */
  readonly abort: (reason: unknown) => void;
  /** Told while the request waits. Called synchronously; must not throw. */
  readonly onWait?: ((event: WaitEvent) => void) | undefined;
}

/**
 * Runs a generation into `sink` and resolves when the reply is complete.
 *
 * @throws LMServError, or the signal's reason when it aborts.
 */
export type Generate = (
  request: GenerateRequest,
  context: RequestScope,
  sink: Sink<ReplyEvent>,
) => Promise<void>;

/**
 * Evaluates inputs by the first backend that can: all of them by the same, because vectors of different models cannot be
 * compared. Writes the trace of the context, so that it is billed and logged as a generation is.
 *
 * @throws LMServError `invalid_value` for a model that cannot, `context_length_exceeded`, `invalid_response` for numbers
 *   that are not finite, and as `Generate`; the signal's reason when it aborts.
 */
export type Evaluate = (request: EvaluationRequest, context: RequestScope) => Promise<Evaluation>;

/**
 * Answers a question about tokens, by the first backend of the model that can.
 *
 * @throws LMServError, or the signal's reason when it aborts.
 */
export type AskTokens = (question: TokenQuestion, signal: AbortSignal) => Promise<Json>;

/** A client's wish about a model after its request: out of memory at once, or in memory for good. */
export type KeepAlive = 'unload' | 'pin';

/** A reply that has begun. */
export interface OpenReply {
  /** Resolves when the reply is complete; rejects when it breaks off. */
  readonly done: Promise<void>;
}

interface BackendBase {
  readonly name: string;
  status(): BackendStatus;
  /** Its worker processes; absent if it has none. */
  workers?(): readonly WorkerInfo[];
  /** What is known of its model so far; absent if it knows nothing. */
  facts?(): ModelFacts;
  /** Begins to serve; returns at once, readiness shows in `status()`. */
  start(): void;
  /** Refuses new requests, lets running ones finish within `graceMs` milliseconds, then ends. */
  stop(graceMs: number): Promise<void>;
}

/** Something that can generate: a local pool of workers or a remote server. */
export interface Backend extends BackendBase {
  /**
   * Runs one choice (`request.n` is 1 here) and resolves once its first token has reached the sink, or at its end if it
   * has none. Until then retries and fallback are possible; after that only the backend itself can resume the reply.
   *
   * @throws LMServError; `retryable` on it says whether another backend may be tried.
   */
  open(request: GenerateRequest, context: GenerateContext, sink: Sink): Promise<OpenReply>;

  /**
   * Evaluates all inputs of a request; absent if the backend cannot. Reports its progress, and with `prefill` how many
   * tokens it has evaluated so far.
   *
   * @throws LMServError as `open`, or the signal's reason.
   */
  evaluate?(request: EvaluationRequest, context: GenerateContext, sink: Sink): Promise<Evaluation>;

  /**
   * Answers a question about the tokens of its model; absent if the backend cannot.
   *
   * @throws LMServError as `open`, or the signal's reason.
   */
  askTokens?(question: TokenQuestion, signal: AbortSignal): Promise<Json>;

  /**
   * Resolves once its model is in memory; absent if it never has to be loaded.
   *
   * @throws LMServError as `open`, or the signal's reason.
   */
  load?(signal: AbortSignal): Promise<void>;
}

/** The simplest form of a backend, for programs that embed LMServ: its events are pulled one by one. */
export interface CustomBackend extends BackendBase {
  /** @throws as `Backend.open`. */
  generate(request: GenerateRequest, context: GenerateContext): AsyncIterable<ReplyEvent>;
}

/** Counts for /health; a backend that is not a pool of workers reports zeros and its `ready`. */
export interface BackendStatus {
  /** Can take a request now or after a wait in its queue. */
  readonly ready: boolean;
  /** Has not been ready yet and may still become so. */
  readonly starting: boolean;
  /** Of a local model. */
  readonly state?: ModelState | undefined;
  readonly workers: { total: number; idle: number; busy: number; starting: number; dead: number };
  readonly slots: { total: number; idle: number };
  readonly queue: { waiting: number; limit: number };
}

export type WorkerActivity = 'starting' | 'idle' | 'busy' | 'suspected' | 'draining';

/** The current state of a running worker process, for the metrics. */
export interface WorkerInfo {
  /** `model#position.spawn`. */
  readonly id: string;
  readonly model: string;
  /** Its position in the pool, from 0; a replacement takes over the position. */
  readonly position: number;
  readonly pid: number | undefined;
  readonly state: WorkerActivity;
  readonly slots: number;
  /** Slots in use. */
  readonly leased: number;
  /** Finished since it was spawned. */
  readonly requests: number;
  /** Unix time, milliseconds. */
  readonly startedAt: number;
  /** The llama.cpp that it runs. */
  readonly binary?: string | undefined;
  /** The only GPU that it may use, as LLM_GPUS names it. */
  readonly gpu?: string | undefined;
  /** What its model takes, by device; empty until it is loaded. */
  readonly memory?: readonly DeviceMemory[] | undefined;
  /** Its layers on GPUs; undefined until it is loaded. */
  readonly offload?: Offload | undefined;
}

/** Memory that a worker's model takes in one place, as llama.cpp reports it, bytes. */
export interface DeviceMemory {
  /** `host`, which is main memory, or a device as llama.cpp names it, with the number that LLM_GPUS takes: `CUDA1`. */
  readonly device: string;
  /** Weights, with those of adapters and projectors. */
  readonly model: number;
  /** The part of `model` that is mapped from the file, which all workers of a model share. */
  readonly mapped: number;
  /** The cache of all slots. */
  readonly context: number;
  readonly compute: number;
}

/** A worker's layers on GPUs. */
export interface Offload {
  readonly offloaded: number;
  /** Layers of the model, output layer included; undefined if llama.cpp did not say. */
  readonly total: number | undefined;
  /** As configured; undefined leaves it to llama.cpp. */
  readonly requested: number | undefined;
  /** Fewer than requested, although the model has them, or none on a GPU that LLM_GPUS names. */
  readonly lacking: boolean;
}

/** What can be asked of a model. */
export type Capability =
  'chat' | 'completion' | 'embed' | 'rerank' | 'tools' | 'json_schema' | 'reasoning' | 'images';

/** What a backend knows of its model; undefined where it knows nothing. */
export interface ModelFacts {
  readonly capabilities: readonly Capability[];
  /** As its file names it, such as `llama`. */
  readonly architecture?: string | undefined;
  /** Tokens of prompt and reply together. */
  readonly contextLength?: number | undefined;
  /** Of the weights. */
  readonly sizeBytes?: number | undefined;
  /** As llama.cpp names it, such as `Q4_K - Medium`. */
  readonly quantization?: string | undefined;
  /** How many numbers the model has. */
  readonly parameters?: number | undefined;
}

/** `unloaded`: not in memory, and loaded by the first request for it. */
export type ModelState = 'loaded' | 'loading' | 'unloaded' | 'failed';

export interface ModelDetails extends ModelFacts {
  readonly state: ModelState;
  readonly maxOutputTokens?: number | undefined;
  /** The models of a group, in the order they are tried. */
  readonly members?: readonly string[] | undefined;
}

/** A model or group as `/v1/models` lists it. */
export interface ModelInfo {
  readonly id: string;
  /** Unix time, seconds. */
  readonly created: number;
  readonly ownedBy: string;
  /** Absent until it is listed. */
  readonly details?: ModelDetails;
}

/** How a request ended: delivered in full, cancelled by the client, broken midway, or refused at once. */
export type Outcome = 'finished' | 'cancelled' | 'broken' | 'refused';

/** What a thousand tokens cost, in the currency of the budgets. */
export interface Price {
  readonly promptPer1k: number;
  readonly completionPer1k: number;
}

/**
 * Why a worker's process ended: LMServ stopped or recycled it, it made no progress, it received a signal from elsewhere
 * (such as the kernel's when memory is short), it crashed, or it never became ready.
 */
export type WorkerExitCause = 'shutdown' | 'recycled' | 'hung' | 'killed' | 'crashed' | 'start_failed';

/** How a wait for a slot ended: with a slot, by timeout, refused for lack of room or workers, or cancelled. */
export type WaitOutcome = 'leased' | 'timeout' | 'refused' | 'left';

/** How a conversation was changed to fit a model's chat template. */
export type Adaptation =
  | 'system_message'
  | 'merged_turns'
  | 'text_parts'
  | 'turn_order'
  | 'opening_turn'
  | 'reasoning'
  | 'tool_definitions'
  | 'tool_turns'
  | 'parallel_calls'
  | 'call_ids'
  | 'call_arguments';

/** Why a model was unloaded: nobody used it, others needed its memory, an operator said so, its workers kept failing. */
export type UnloadReason = 'idle' | 'evicted' | 'operator' | 'failed';

/** A local model and its place in memory. */
export interface ModelMemory {
  readonly id: string;
  readonly state: ModelState;
  /** Stays in memory once it is loaded. */
  readonly pinned: boolean;
  /** Serves a request, or has one waiting. */
  readonly busy: boolean;
  /** What it needs or holds; absent while nothing is known. */
  readonly bytes?: number;
  /** `bytes` is an estimate from its file, because it has not been loaded yet. */
  readonly estimated: boolean;
  /** Unix time of its last request, milliseconds. */
  readonly lastUsed?: number;
  /** How long its last load took, milliseconds. */
  readonly loadMs?: number;
  /** Why it cannot be loaded. */
  readonly error?: string;
}

/**
 * An operator's hold on which local models are in memory. Ids are exact, never aliases.
 *
 * @throws LMServError: `model_not_found`, `unavailable` for what cannot be loaded, `draining`.
 */
export interface ModelControl {
  models(): ModelMemory[];
  /** Loads a model as a request for it would; resolves when it can serve. */
  load(id: string): Promise<void>;
  /** Unloads a model when its replies are finished; resolves once its memory is free. A later request loads it again. */
  unload(id: string): Promise<void>;
  /** Keeps a model in memory from now on, and loads it if it is not there. */
  pin(id: string): void;
  unpin(id: string): void;
}
