import type { RequestHandler } from 'express';
import type { Caller, Generate } from '../contract.js';
import type { Dialect } from '../dialects/shared/dialect.js';
import { toLMServError } from '../errors.js';
import { cutOffWhenStalled } from './connection-end.js';
import { callerOf, contextOf } from './context.js';
import { generationOptions, queueHeaders } from './generation-headers.js';
import { writeStream } from './reply.js';

/**
 * Finds who pays for a request.
 *
 * @throws LMServError when the caller may not spend for that tenant or its budget is used up.
 */
export type Admit = (caller: Caller, tenant: string | undefined) => string;

/** Serves one generating route: body → dialect → admission → generate → reply. */
export function generateHandler(dialect: Dialect, generate: Generate, admit: Admit): RequestHandler {
  return async (request, response) => {
    const context = contextOf(response);
    context.generated = true;
    const call = dialect.parse(request.body);
    // The call holds what it needs of it; a reply may take minutes.
    request.body = undefined;
    const caller = callerOf(response);
    context.tenant = admit(caller, call.request.tenant);
    const { requestId, signal, trace } = context;
    const info = { requestId, created: Math.floor(Date.now() / 1000), trace };
    const asked = { ...call.request, ...generationOptions(request.headers) };
    const events = generate(asked, { requestId, caller, signal, trace });
    if ('stream' in call) {
      const failure = await writeStream(response, call.stream(info), events, signal);
      if (failure) context.error = toLMServError(failure);
    } else {
      const reply = await call.collect(events, info);
      cutOffWhenStalled(response);
      response.set(queueHeaders(trace)).json(reply);
    }
  };
}
