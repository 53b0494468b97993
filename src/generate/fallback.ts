import type { Backend, GenerateContext, GenerateRequest, OpenReply, Sink } from '../contract.js';
import { LMServError, toLMServError, type ErrorCode } from '../errors.js';
import { systemClock, type After } from '../time.js';
import { deadline } from './deadline.js';

/** One that may serve a request, as its group has it. */
export interface Member {
  /** The id of its model: what answers are labelled with. */
  readonly model: string;
  readonly backend: Backend;
}

/** One member failed before its first token. */
export interface MemberFailure {
  readonly requestId: string;
  readonly model: string;
  readonly backend: string;
  readonly error: LMServError;
}

export interface FallbackOptions {
  /** Longest time to the first token over all members, milliseconds; undefined leaves it to each member's own limits. */
  readonly firstTokenMs?: number | undefined;
  /** Called with each failure that another member may make good, for the log. */
  readonly onFailure?: ((failure: MemberFailure) => void) | undefined;
  readonly after?: After | undefined;
}

/** Makes the request as one member gets it; members differ in their limits. */
export type RequestFor<M extends Member> = (member: M) => GenerateRequest;

/**
 * Tries one member after the other until one has given its first token; after that there is no other. A member that is
 * full refuses at once while others are left; when those have failed too, the request waits there after all.
 *
 * A request that is invalid in itself ends it at once: another backend would reject it too.
 *
 * @throws LMServError of the member if only one was tried; `unavailable` with the most telling failure's message if
 *   there were more; the signal's reason when it aborts.
 */
export async function openFirst<M extends Member>(
  members: readonly M[],
  requestFor: RequestFor<M>,
  context: GenerateContext,
  sink: Sink,
  options: FallbackOptions = {},
): Promise<OpenReply> {
  const { firstTokenMs, after = systemClock.after } = options;
  const limit = deadline(context.signal, firstTokenMs, noFirstToken, after);
  const failures: LMServError[] = [];
  const tried = new Set<M>();
  try {
    for (const { member, mayFallBack } of attempts(members, failures)) {
      const { model, backend } = member;
      sink.event({ type: 'attempt', model, backend: backend.name, again: failures.length > 0 });
      tried.add(member);
      try {
        return await backend.open(
          requestFor(member),
          { ...context, signal: limit.signal, mayFallBack },
          sink,
        );
      } catch (thrown) {
        if (context.signal.aborted) throw thrown;
        const error = toLMServError(limit.signal.aborted ? limit.signal.reason : thrown);
        if (isClients(error)) throw error;
        failures.push(error);
        options.onFailure?.({ requestId: context.requestId, model, backend: backend.name, error });
        if (limit.signal.aborted) break;
      }
    }
  } finally {
    limit.clear();
  }
  throw summary(failures, tried.size);
}

/** All members in turn, then those that were only full, to wait there; reads the failures as they come in. */
function* attempts<M extends Member>(
  members: readonly M[],
  failures: readonly LMServError[],
): Generator<{ member: M; mayFallBack: boolean }> {
  const full: M[] = [];
  for (const [position, member] of members.entries()) {
    const mayFallBack = position < members.length - 1;
    yield { member, mayFallBack };
    if (mayFallBack && failures.at(-1)?.code === 'queue_full') full.push(member);
  }
  for (const member of full) yield { member, mayFallBack: false };
}

/** The request itself is at fault, not who was to serve it. */
function isClients(error: LMServError): boolean {
  return error.status < 500 && !error.retryable;
}

function noFirstToken(ms: number): LMServError {
  return new LMServError('provider_timeout', `No backend gave a first token within ${ms / 1000} s`);
}

/** What only says "not now", which tells less than what is broken. */
const PASSING: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'queue_full',
  'queue_timeout',
  'starting',
  'draining',
  'unavailable',
  'provider_rate_limited',
]);

function summary(failures: readonly LMServError[], tried: number): LMServError {
  const telling = failures.find((error) => !PASSING.has(error.code)) ?? failures[0];
  if (telling === undefined) return new LMServError('unavailable');
  if (tried === 1) return telling;
  const hints = failures.flatMap((error) => error.retryAfter ?? []);
  const { stderr, providerStatus } = telling;
  return new LMServError('unavailable', `No backend can serve this request now: ${telling.message}`, {
    retryAfter: hints.length > 0 ? Math.min(...hints) : undefined,
    ...{ stderr, providerStatus, cause: telling },
  });
}
