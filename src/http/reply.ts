import type { Response } from 'express';
import type { GenerateEvent } from '../contract.js';
import type { StreamEncoder } from '../dialects/shared/dialect.js';
import { LMServError, toLMServError } from '../errors.js';
import { STALL_MS } from './connection-end.js';
import { contextOf } from './context.js';
import { queueHeaders } from './generation-headers.js';

/** How often something is sent while no token comes, milliseconds. */
const PING_MS = 15_000;

/**
 * Writes a stream of events as the encoder says. The next event is asked for only when the client has taken the last
 * one, so a slow client holds the generation back. Headers go out with the first text, so that an early failure has
 * its own status: it is thrown, and nothing has been sent then.
 *
 * @throws what the generation throws before anything was sent. Later failures are told inside the stream or by
 *   cutting the connection, and returned.
 */
export async function writeStream(
  response: Response,
  encoder: StreamEncoder,
  events: AsyncIterable<GenerateEvent>,
  signal: AbortSignal,
): Promise<LMServError | undefined> {
  if (encoder.trailers && !isChunked(response)) {
    await writeWhole(response, encoder, events);
    return undefined;
  }
  const pings = new Pings(response, encoder);
  try {
    for await (const event of events) {
      const text = encoder.event(event);
      if (text !== '') {
        open(response, encoder);
        pings.postpone();
        if (!response.write(text)) await drained(response, signal);
      } else if (event.type === 'prefill') pings.postpone();
    }
    open(response, encoder);
    if (encoder.trailers) response.addTrailers(encoder.trailers.values());
    response.end(encoder.end());
    return undefined;
  } catch (thrown) {
    const error = toLMServError(thrown);
    if (!response.headersSent && !encoder.errorsAsStream) throw thrown;
    if (!response.destroyed) breakOff(response, encoder, error);
    return error;
  } finally {
    pings.stop();
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
  response.set(queueHeaders(contextOf(response).trace));
  if (encoder.trailers) response.setHeader('Trailer', encoder.trailers.names.join(', '));
  response.socket?.setNoDelay(true);
}

/** Ends a begun reply so that the client can tell: an error in the stream's own form, or a cut connection. */
function breakOff(response: Response, encoder: StreamEncoder, error: LMServError): void {
  const text = encoder.error(error);
  if (text === undefined) {
    // What was written in this turn goes out at its end: the client is to have it before the cut.
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
async function writeWhole(response: Response, encoder: StreamEncoder, events: AsyncIterable<GenerateEvent>) {
  let text = '';
  for await (const event of events) text += encoder.event(event);
  response.status(200).set({ 'Content-Type': encoder.contentType, ...encoder.trailers?.values() });
  response.set(queueHeaders(contextOf(response).trace));
  response.send(text + encoder.end());
}

/** HTTP/1.0 has neither chunks nor trailers. */
function isChunked(response: Response): boolean {
  return response.req.httpVersion !== '1.0';
}

/**
 * Resolves when the client has taken what was written; a client that takes nothing for 30 s is cut off. A reply that is
 * pipelined behind another has no socket yet: its 30 s begin once it has one, or up to 30 s later.
 */
function drained(response: Response, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    let offered = response.socket !== null;
    const timer = setTimeout(() => {
      if (offered) response.destroy();
      else timer.refresh();
      offered = response.socket !== null;
    }, STALL_MS);
    const settle = (finish: () => void) => () => {
      clearTimeout(timer);
      response.off('drain', onDrain);
      signal.removeEventListener('abort', onAbort);
      finish();
    };
    const onDrain = settle(resolve);
    const onAbort = settle(() => reject(signal.reason as Error));
    response.once('drain', onDrain);
    signal.addEventListener('abort', onAbort);
    if (signal.aborted) onAbort();
  });
}

/** Sends the encoder's ping whenever nothing else was sent for a while, beginning with the prefill. */
class Pings {
  #timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly response: Response,
    private readonly encoder: StreamEncoder,
  ) {}

  postpone(): void {
    const { ping } = this.encoder;
    if (ping === undefined) return;
    if (this.#timer) {
      this.#timer.refresh();
      return;
    }
    this.#timer = setInterval(() => {
      open(this.response, this.encoder);
      this.response.write(ping);
    }, PING_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
