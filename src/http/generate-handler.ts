import type { RequestHandler } from 'express';
import type { Caller, Generate, ReplyEvent, Sink } from '../contract.js';
import { Collector } from '../dialects/shared/collect.js';
import type { Dialect } from '../dialects/shared/dialect.js';
import { toLMServError } from '../errors.js';
import { ReplyFlow } from '../generate/flow.js';
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
    const wanted = { ...call.request, ...generationOptions(request.headers) };
    const flow = new ReplyFlow();
    const run = (sink: Sink<ReplyEvent>) =>
      generate(wanted, { requestId, caller, signal, trace, flow }, sink);
    if ('stream' in call) {
      const failure = await writeStream(response, call.stream(info), flow, run);
      if (failure) context.error = toLMServError(failure);
    } else {
      const collector = new Collector(call.request.n);
      await run(collector);
      const reply = await call.reply(collector.collected(), info);
      response.set(queueHeaders(trace)).json(reply);
    }
  };
}
