import type { IncomingHttpHeaders } from 'node:http';
import type { RequestHandler } from 'express';
import type { AskTokens, Caller, Evaluate, Generate, GenerateRequest, KeepAlive } from '../contract.js';
import { Collector } from '../dialects/shared/collect.js';
import type { Dialect } from '../dialects/shared/dialect.js';
import { compact } from '../compact.js';
import { LMServError, toLMServError } from '../errors.js';
import { ReplyFlow } from '../generate/flow.js';
import type { Logger } from '../observe/logger.js';
import { objectionTo } from './admin-routes.js';
import { callerOf, contextOf, queueHeaders } from './context.js';
import { writeJson } from './long-json.js';
import { writeStream, type Run } from './reply.js';

/** Decides which tenant pays for a request. */
export interface Admission {
  /**
   * The tenant that pays.
   *
   * @throws LMServError if the caller may not use that tenant's budget, or a budget is exhausted.
   */
  admit(caller: Caller, tenant: string | undefined): string;
}

/** What says which model a request means. */
type Named = Pick<GenerateRequest, 'model' | 'unknownModel' | 'provider'>;

/** Which models are in memory, as far as clients have a say. */
export interface Residents {
  /** Resolves once the model of a request can serve. @throws LMServError, or the signal's reason. */
  load(request: Named, signal: AbortSignal, caller: Caller): Promise<void>;
  /** Follows a client's wish as far as that harms nobody. @throws LMServError `model_not_found`. */
  keep(
    wish: KeepAlive,
    request: Named,
    guest: { readonly caller: Caller; readonly mayManage: boolean },
    model?: string,
  ): Promise<void>;
}

/** What serves the calls of dialects. */
export interface Serving {
  readonly generate: Generate;
  readonly evaluate: Evaluate;
  readonly askTokens: AskTokens;
  readonly accounting: Admission;
  readonly residence: Residents;
  readonly logger: Logger;
}

/** Serves one generating route: body → dialect → admission → generate → reply. */
export function generateHandler(
  dialect: Dialect,
  { generate, evaluate, askTokens, accounting: admission, residence, logger }: Serving,
): RequestHandler {
  return async (request, response) => {
    const context = contextOf(response);
    context.generated = true;
    const call = dialect.parse(request.body);
    // The call keeps what it needs of the body; a reply may take minutes.
    request.body = undefined;
    if ('ask' in call) {
      context.generated = false;
      response.json(call.answer(await askTokens(call.ask, context.signal)));
      return;
    }
    const caller = callerOf(response);
    const guest = { caller, mayManage: objectionTo(request, response) === undefined };
    if ('settled' in call) {
      context.generated = false;
      const { request: about, keepAlive } = call;
      if (keepAlive !== 'unload') await residence.load(about, context.signal, caller);
      if (keepAlive) await residence.keep(keepAlive, about, guest);
      response.json(call.settled());
      return;
    }
    const work = 'evaluate' in call ? call.evaluate : call.request;
    context.tenant = admission.admit(caller, work.tenant);
    const { requestId, signal, abort, trace } = context;
    const info = { requestId, created: Math.floor(Date.now() / 1000), trace };
    const options = generationOptions(request.headers);
    const flow = new ReplyFlow();
    // The client has its reply; an unload may take until others have theirs.
    const settle = (wish: KeepAlive | undefined, about: Named): void => {
      if (!wish) return;
      residence.keep(wish, about, guest, trace.model).catch((err: unknown) => {
        logger.debug({ event: 'keep_alive_refused', requestId, err }, 'a wish about a model is not followed');
      });
    };
    if ('evaluate' in call) {
      const wanted = { ...call.evaluate, priority: options.priority };
      const done = await evaluate(wanted, { requestId, caller, signal, abort, trace, flow });
      const result = call.result(done, info);
      await writeJson(response.set(queueHeaders(response)), result as object);
      settle(call.keepAlive, call.evaluate);
      return;
    }
    const wanted = { ...call.request, ...options };
    const tellsWait = readHeader(request.headers, 'X-Queue-Events', ON_OFF) === true;
    const run: Run = (sink, onWait) =>
      generate(wanted, { requestId, caller, signal, abort, trace, flow, onWait }, sink);
    if ('stream' in call) {
      const failure = await writeStream(response, call.stream(info), flow, run, tellsWait);
      if (failure) context.error = toLMServError(failure);
    } else {
      const collector = new Collector(call.request.n);
      await run(collector);
      const reply = await call.reply(collector.collected(), info);
      response.set(queueHeaders(response)).json(reply);
    }
    settle(call.keepAlive, call.request);
  };
}

/** Batch work waits behind all interactive requests. */
const PRIORITIES: ReadonlyMap<string, number> = new Map([
  ['interactive', 0],
  ['batch', -1],
]);

const ON_OFF: ReadonlyMap<string, boolean> = new Map([
  ['on', true],
  ['off', false],
]);

/**
 * Reads the options that a client may set by header on every route: `X-Priority: batch` and `X-Reply-Resume: off`.
 *
 * @throws LMServError `invalid_value` naming the header.
 */
function generationOptions(headers: IncomingHttpHeaders): Pick<GenerateRequest, 'priority' | 'resume'> {
  return compact({
    priority: readHeader(headers, 'X-Priority', PRIORITIES),
    resume: readHeader(headers, 'X-Reply-Resume', ON_OFF),
  });
}

function readHeader<T>(
  headers: IncomingHttpHeaders,
  name: string,
  values: ReadonlyMap<string, T>,
): T | undefined {
  const header = headers[name.toLowerCase()];
  if (header === undefined) return undefined;
  const value = values.get(String(header).toLowerCase());
  if (value === undefined) {
    const known = [...values.keys()].join(' or ');
    throw new LMServError('invalid_value', `${name}: must be ${known}`, { param: name });
  }
  return value;
}
