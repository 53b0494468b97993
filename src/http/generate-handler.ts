import type { RequestHandler } from 'express';
import type { Generate } from '../contract.js';
import type { Dialect } from '../dialects/dialect.js';
import { toLMServError } from '../errors.js';
import { callerOf, contextOf } from './context.js';
import { writeStream } from './reply.js';

/** Serves one generating route: body → dialect → generate → reply. */
export function generateHandler(dialect: Dialect, generate: Generate): RequestHandler {
  return async (request, response) => {
    const context = contextOf(response);
    context.generated = true;
    const call = dialect.parse(request.body);
    const { requestId, signal, trace } = context;
    const info = { requestId, created: Math.floor(Date.now() / 1000), trace };
    const events = generate(call.request, { requestId, caller: callerOf(response), signal, trace });
    if ('stream' in call) {
      const failure = await writeStream(response, call.stream(info), events, signal);
      if (failure) context.error = toLMServError(failure);
    } else {
      response.json(await call.collect(events, info));
    }
  };
}
