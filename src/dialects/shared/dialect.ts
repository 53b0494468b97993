import type { z } from 'zod';
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

/** What the description of the API says of a route. */
export interface RouteDescription {
  readonly summary: string;
  /** What validates its bodies. */
  readonly body: z.ZodType;
  /** A body that the demo model can serve. */
  readonly example: object;
  /** Content types of its replies: as the example asks for, and others. */
  readonly replies: readonly string[];
}

/** A wire contract: translates a body to a request, and events or errors back. Knows nothing of HTTP frameworks. */
export interface Dialect {
  /** @throws LMServError `invalid_value` naming the field. */
  parse(body: unknown): Call;
  /** Number of characters of the images in a body that was parsed from JSON; absent if the dialect takes no images. */
  images?(body: object): number;
  /** For `/openapi.json`, where a dialect without it has only its path. */
  readonly description?: RouteDescription;
  /** The JSON body of an error reply; OpenAI's where a dialect has none of its own. `status` replaces the error's. */
  errorBody?(error: LMServError, requestId: string): { readonly body: unknown; readonly status?: number };
}
