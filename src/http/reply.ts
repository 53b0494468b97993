import type { Response } from 'express';
import type { ReplyEvent, Sink, WaitEvent } from '../contract.js';
import type { StreamEncoder } from '../dialects/shared/dialect.js';
import { LMServError, toLMServError } from '../errors.js';
import type { ReplyFlow } from '../generate/flow.js';
import { contextOf, queueHeaders } from './context.js';

/** A comment, for people who read the stream; parsers of events drop it. */
const UNPARSED =
  ": the reply does not have the form of the model's chat template, so it is passed on as it is\n\n";

/** Interval between pings while there are no tokens, milliseconds. */
const PING_MS = 15_000;

/** Runs the generation into a sink; `onWait` is told while it waits. */
export type Run = (sink: Sink<ReplyEvent>, onWait?: (event: WaitEvent) => void) => Promise<void>;

/**
 * Writes the events that `generate` produces, in the encoder's form. A client that reads slowly holds the generation
 * back. Headers are sent with the first text, so that a failure before it can be thrown and get its own status.
 *
 * @param tellsWait the client wants to know how its wait goes on, which is its first text.
 * @throws what the generation throws before anything is sent. Later failures are reported inside the stream or by
 *   cutting the connection, and returned.
 */
export async function writeStream(
  response: Response,
  encoder: StreamEncoder,
  flow: ReplyFlow,
  generate: Run,
  tellsWait = false,
): Promise<LMServError | undefined> {
  if (encoder.trailers && !isChunked(response)) {
    await writeWhole(response, encoder, generate);
    return undefined;
  }
  const writer = new ReplyWriter(response, encoder, flow);
  try {
    await generate(writer, tellsWait && isEventStream(encoder) ? writer.onWait : undefined);
    writer.finish();
    return undefined;
  } catch (thrown) {
    const error = toLMServError(thrown);
    if (!response.headersSent && !encoder.errorsAsStream) throw thrown;
    if (!response.destroyed) breakOff(response, encoder, error);
    return error;
  } finally {
    writer.end();
  }
}

/** The last stage of a token: its text goes into the response. */
class ReplyWriter implements Sink<ReplyEvent> {
  readonly #response: Response;
  readonly #encoder: StreamEncoder;
  readonly #flow: ReplyFlow;
  #open = false;
  #pings: NodeJS.Timeout | undefined;

  constructor(response: Response, encoder: StreamEncoder, flow: ReplyFlow) {
    this.#response = response;
    this.#encoder = encoder;
    this.#flow = flow;
  }

  event(event: ReplyEvent): void {
    const text = this.#encoder.event(event);
    if (text !== '') this.#write(event.type === 'finish' ? this.#note() + text : text);
    else if (event.type === 'prefill') this.#postponePing();
  }

  /** Comments reach people and programs that look for them; parsers of events drop them. */
  readonly onWait = (event: WaitEvent): void => {
    if (!this.#flow.held) this.#write(`: ${describeWait(event)}\n\n`);
  };

  /** The reply is complete. */
  finish(): void {
    if (!this.#open) open(this.#response, this.#encoder);
    const { trailers } = this.#encoder;
    if (trailers) this.#response.addTrailers(trailers.values());
    this.#response.end(this.#encoder.end());
  }

  /** Nothing more will be written. */
  end(): void {
    clearInterval(this.#pings);
    this.#response.off('drain', this.#onDrain);
  }

  #note(): string {
    const { unparsed } = contextOf(this.#response).trace;
    return unparsed && isEventStream(this.#encoder) ? UNPARSED : '';
  }

  #write(text: string): void {
    if (!this.#open) {
      open(this.#response, this.#encoder);
      this.#open = true;
    }
    this.#postponePing();
    if (this.#response.write(text) || this.#flow.held) return;
    this.#flow.hold();
    this.#response.once('drain', this.#onDrain);
  }

  readonly #onDrain = (): void => this.#flow.release();

  /** Sends the encoder's ping whenever nothing has been sent for a while, beginning with the prefill. */
  #postponePing(): void {
    const { ping } = this.#encoder;
    if (ping === undefined) return;
    if (this.#pings) {
      this.#pings.refresh();
      return;
    }
    this.#pings = setInterval(() => {
      if (!this.#flow.held) this.#write(ping);
    }, PING_MS);
  }
}

function isEventStream({ contentType }: StreamEncoder): boolean {
  return contentType.startsWith('text/event-stream');
}

function describeWait(event: WaitEvent): string {
  if (event.type === 'queued') return `queued ${event.position}`;
  return event.percent === undefined ? 'loading' : `loading ${event.percent} %`;
}

/**
 * Sets the headers, which are sent in one packet with the text that follows. Tokens are small and must not be delayed by
 * Nagle's algorithm or a buffering proxy.
 */
function open(response: Response, encoder: StreamEncoder): void {
  if (response.headersSent) return;
  response.status(200);
  response.setHeader('Content-Type', encoder.contentType);
  response.setHeader('Cache-Control', 'no-cache');
  response.setHeader('X-Accel-Buffering', 'no');
  response.set(queueHeaders(response));
  if (encoder.trailers) response.setHeader('Trailer', encoder.trailers.names.join(', '));
  response.socket?.setNoDelay(true);
}

/** Ends a reply that has begun so that the client notices: with an error in its form, by cutting the connection, or both. */
function breakOff(response: Response, encoder: StreamEncoder, error: LMServError): void {
  const text = encoder.error(error);
  if (text !== undefined) open(response, encoder);
  if (text !== undefined && encoder.cutsAfterError !== true) {
    response.end(text);
    return;
  }
  if (text !== undefined) response.write(text);
  // What was written in this turn is flushed at its end, before the cut.
  process.nextTick(() => response.destroy());
}

/**
 * Writes a text for an HTTP/1.0 client in one piece: without chunks the text ends with the connection, so a text that was
 * cut would look complete. The headers then carry what the trailers would.
 */
async function writeWhole(response: Response, encoder: StreamEncoder, generate: Run): Promise<void> {
  let text = '';
  await generate({ event: (event) => (text += encoder.event(event)) });
  response.status(200).set({ 'Content-Type': encoder.contentType, ...encoder.trailers?.values() });
  response.set(queueHeaders(response));
  response.send(text + encoder.end());
}

/** HTTP/1.0 has neither chunks nor trailers. */
function isChunked(response: Response): boolean {
  return response.req.httpVersion !== '1.0';
}
