/** Replies to ask for, as many at a time as there are streams; each stream takes the next when its last is done. */
export interface LoadJob {
  /** Where to post. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** One for each reply. */
  readonly bodies: readonly string[];
  /** An API key for each body; without them `headers` has the key of all. */
  readonly keys?: readonly string[] | undefined;
  readonly streams: number;
  readonly format: ReplyFormat;
}

/** `sse`: events of OpenAI's chat completions. `text`: plain text, a chunk of HTTP a token. */
export type ReplyFormat = 'sse' | 'text';

/** Times are milliseconds. */
export interface LoadResult {
  /** From the first request to the last byte. */
  readonly wallMs: number;
  /** Replies that came whole. */
  readonly replies: number;
  /** Token events of all replies. */
  readonly events: number;
  /** How many replies failed, by reason. */
  readonly errors: Readonly<Record<string, number>>;
  /** From each request to its first token. */
  readonly firstTokenMs: Float64Array;
  /** From each token to the next; tokens that arrive together are 0 apart. */
  readonly gapMs: Float64Array;
}
