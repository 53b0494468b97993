import type { RequestHandler } from 'express';

/** All metrics in Prometheus' text form. */
export type ReadMetrics = () => Promise<{ readonly contentType: string; readonly body: string }>;

/** `GET /metrics`. */
export function metrics(read: ReadMetrics): RequestHandler {
  return async (_request, response) => {
    const { contentType, body } = await read();
    response.setHeader('Content-Type', contentType);
    // As bytes: Express would rewrite the content type of a string.
    response.send(Buffer.from(body));
  };
}
