import type {
  Evaluation,
  EvaluationRequest,
  GenerateRequest,
  Json,
  KeepAlive,
  ReplyEvent,
  TokenQuestion,
  Trace,
} from '../../contract.js';
import type { LMServError } from '../../errors.js';
import type { Collected } from './collect.js';

/** What an encoder may know of the reply it writes. */
export interface ReplyInfo {
  readonly requestId: string;
  /** Unix time of the request, seconds. */
  readonly created: number;
  /** `trace.model` is known by the first event. */
  readonly trace: Readonly<Trace>;
}

/** Turns events into what goes over the wire. One encoder serves one reply. */
export interface StreamEncoder {
  readonly contentType: string;
  /** Text for one event; empty when it shows nothing to the client. */
  event(event: ReplyEvent): string;
  /** Text that ends a complete reply. */
  end(): string;
  /** Text that reports a failure after the reply began; undefined where only a cut connection can. */
  error(error: LMServError): string | undefined;
  /** The connection is cut behind that text, for clients that pass over it. */
  readonly cutsAfterError?: boolean;
  /** What may be sent while nothing comes, to keep the connection alive. */
  readonly ping?: string;
  /** HTTP trailers, sent at the end; their names must be known before. */
  readonly trailers?: { readonly names: readonly string[]; values(): Record<string, string> };
  /** A failure before the first event is reported inside the stream as well, with status 200. */
  readonly errorsAsStream?: boolean;
}

/** What a client may want besides a reply. */
interface Wish {
  readonly request: GenerateRequest;
  /** What is to become of the model afterwards; undefined leaves it as it is. */
  readonly keepAlive?: KeepAlive | undefined;
}

/** One parsed request and how its reply is written: a stream or one JSON body. */
export type Call =
  | (Wish & { readonly stream: (info: ReplyInfo) => StreamEncoder })
  | (Wish & { readonly reply: (collected: Collected, info: ReplyInfo) => unknown })
  /** The JSON body once the model is loaded, or, with keepAlive `unload`, once that is done; nothing is generated. */
  | (Wish & { readonly settled: () => unknown })
  | {
      readonly request?: undefined;
      readonly keepAlive?: KeepAlive | undefined;
      readonly evaluate: EvaluationRequest;
      readonly result: (evaluation: Evaluation, info: ReplyInfo) => unknown;
    }
  | {
      readonly request?: undefined;
      readonly ask: TokenQuestion;
      readonly answer: (answer: Json) => unknown;
    };

/** A wire contract: translates a body to a request, and events or errors back. Knows nothing of HTTP frameworks. */
export interface Dialect {
  /** @throws LMServError `invalid_value` naming the field. */
  parse(body: unknown): Call;
  /** The JSON body of an error reply; OpenAI's where a dialect has none of its own. `status` replaces the error's. */
  errorBody?(error: LMServError, requestId: string): { readonly body: unknown; readonly status?: number };
}
