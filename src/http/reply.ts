import type { Response } from 'express';
import type { ReplyEvent, Sink } from '../contract.js';
import type { StreamEncoder } from '../dialects/shared/dialect.js';
import { LMServError, toLMServError } from '../errors.js';
import type { ReplyFlow } from '../generate/flow.js';
import { queueHeaders } from './context.js';
import { STALL_MS } from './server.js';

/** How often something is sent while no token comes, milliseconds. */
const PING_MS = 15_000;

/**
 * Writes the events that `generate` produces as the encoder says. A client that reads slowly holds the generation back.
 * Headers go out with the first text, so that an early failure has its own status: it is thrown, and nothing has been
 * sent then.
 *
 * @throws what the generation throws before anything was sent. Later failures are reported inside the stream or by
 *   cutting the connection, and returned.
 */
export async function writeStream(
  response: Response,
  encoder: StreamEncoder,
  flow: ReplyFlow,
  generate: (sink: Sink<ReplyEvent>) => Promise<void>,
): Promise<LMServError | undefined> {
  if (encoder.trailers && !isChunked(response)) {
    await writeWhole(response, encoder, generate);
    return undefined;
  }
  const writer = new ReplyWriter(response, encoder, flow);
  try {
    await generate(writer);
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
  #stall: NodeJS.Timeout | undefined;

  constructor(response: Response, encoder: StreamEncoder, flow: ReplyFlow) {
    this.#response = response;
    this.#encoder = encoder;
    this.#flow = flow;
  }

  event(event: ReplyEvent): void {
    const text = this.#encoder.event(event);
    if (text !== '') this.#write(text);
    else if (event.type === 'prefill') this.#postponePing();
  }

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
    clearTimeout(this.#stall);
    this.#response.off('drain', this.#onDrain);
  }

  #write(text: string): void {
    if (!this.#open) {
      open(this.#response, this.#encoder);
      this.#open = true;
    }
    this.#postponePing();
    if (!this.#response.write(text) && !this.#flow.held) this.#hold();
  }

  /**
   * The client takes nothing at the moment; one that takes nothing for 30 s is cut off. A reply that is pipelined behind
   * another has no socket yet: its 30 s begin once it has one, or up to 30 s later.
   */
  #hold(): void {
    const response = this.#response;
    this.#flow.hold();
    let offered = response.socket !== null;
    const timer = setTimeout(() => {
      if (offered) response.destroy();
      else timer.refresh();
      offered = response.socket !== null;
    }, STALL_MS);
    this.#stall = timer;
    response.once('drain', this.#onDrain);
  }

  readonly #onDrain = (): void => {
    clearTimeout(this.#stall);
    this.#flow.release();
  };

  /** Sends the encoder's ping whenever nothing else was sent for a while, beginning with the prefill. */
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

/**
 * Sets the headers once; they go out with the text that follows, in one packet. Tokens are small and must not wait for
 * one another: no Nagle, no buffering proxy.
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

/** Ends a reply that has begun so that the client notices: an error in the stream's own form, or a cut connection. */
function breakOff(response: Response, encoder: StreamEncoder, error: LMServError): void {
  const text = encoder.error(error);
  if (text === undefined) {
    // What was written in this turn is flushed at its end, before the cut.
    process.nextTick(() => response.destroy());
    return;
  }
  open(response, encoder);
  response.end(text);
}

/**
 * A text for a client of HTTP/1.0, in one piece: without chunks the end of the connection would be the end of the text,
 * and one that was cut would look whole. What the trailers tell is in the headers then.
 */
async function writeWhole(
  response: Response,
  encoder: StreamEncoder,
  generate: (sink: Sink<ReplyEvent>) => Promise<void>,
): Promise<void> {
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
