import type { Backend, GenerateContext, GenerateRequest, OpenReply, Sink } from '../contract.js';
import { LMServError, toLMServError, type ErrorCode } from '../errors.js';
import { systemClock, type After } from '../time.js';

/** A backend that may serve a request, as part of a group. */
export interface Member {
  /** The id of its model, which replies carry. */
  readonly model: string;
  readonly backend: Backend;
}

/** One member failed or refused the request before its first token. */
export interface MemberFailure {
  readonly requestId: string;
  readonly model: string;
  readonly backend: string;
  readonly error: LMServError;
  /** It is in order, but full, or cannot serve this request: too long for it, or with what it does not take. */
  readonly refusal: boolean;
}

export interface FallbackOptions {
  /** Max time to the first token over all members, milliseconds; undefined leaves it to each member's limits. */
  readonly firstTokenMs?: number | undefined;
  /** Called for each failure after which another member may be tried, for the log. */
  readonly onFailure?: ((failure: MemberFailure) => void) | undefined;
  readonly after?: After | undefined;
}

/** Makes the request for one member; members differ in their limits. */
export type RequestFor<M extends Member> = (member: M) => GenerateRequest;

/**
 * Tries the members in turn until one delivers a first token; after that no other is tried. A full member refuses at
 * once while others are left; if those fail too, the request waits for it after all.
 *
 * A member that cannot serve the request as it is, because of its own context, model or limits, is passed over as well.
 * Any other mistake of the client ends this at once.
 *
 * @throws LMServError of the member if only one was tried; if there were more, the most informative refusal if all refused
 *   the request, otherwise `unavailable` with the most informative message; the signal's reason when it aborts.
 */
export function openFirst<M extends Member>(
  members: readonly M[],
  requestFor: RequestFor<M>,
  context: GenerateContext,
  sink: Sink,
  options: FallbackOptions = {},
): Promise<OpenReply> {
  const open = (member: M, own: GenerateContext) => member.backend.open(requestFor(member), own, sink);
  return tryFirst(members, open, context, sink, options);
}

/** As `openFirst`, with anything that a member may do at once. @throws as `openFirst`. */
export async function tryFirst<M extends Member, T>(
  members: readonly M[],
  run: (member: M, context: GenerateContext) => Promise<T>,
  context: GenerateContext,
  sink: Sink,
  options: FallbackOptions = {},
): Promise<T> {
  const { firstTokenMs, after = systemClock.after } = options;
  const late = new AbortController();
  const signal = firstTokenMs === undefined ? context.signal : AbortSignal.any([context.signal, late.signal]);
  const cancelLimit =
    firstTokenMs === undefined
      ? undefined
      : after(firstTokenMs, () => late.abort(noFirstToken(firstTokenMs)));
  const failures: LMServError[] = [];
  const tried = new Set<M>();
  try {
    for (const { member, mayFallBack } of attempts(members, failures)) {
      const { model, backend } = member;
      sink.event({ type: 'attempt', model, backend: backend.name, again: failures.length > 0 });
      tried.add(member);
      try {
        return await run(member, { ...context, signal, mayFallBack });
      } catch (thrown) {
        if (context.signal.aborted) throw thrown;
        const error = toLMServError(late.signal.aborted ? late.signal.reason : thrown);
        if (isFinal(error)) throw error;
        failures.push(error);
        const refusal = MEMBERS_OWN.has(error.code) || BUSY.has(error.code);
        options.onFailure?.({ requestId: context.requestId, model, backend: backend.name, error, refusal });
        if (late.signal.aborted) break;
      }
    }
  } finally {
    cancelLimit?.();
  }
  throw summary(failures, tried.size);
}

/** All members in turn, then those that were only full, to wait for them; reads `failures` while they are added. */
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

/** Codes with which a member says that it cannot serve this request: too long for it, no images, no tools, a limit. */
const MEMBERS_OWN: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['context_length_exceeded', 'invalid_value']);

/** Whether no other member may be asked, because the request is forbidden or dangerous. */
function isFinal(error: LMServError): boolean {
  return error.status < 500 && !error.retryable && !MEMBERS_OWN.has(error.code);
}

function noFirstToken(ms: number): LMServError {
  return new LMServError('provider_timeout', `No backend sent a first token within ${ms / 1000} s`);
}

/** Codes of a member that is in order and has no slot now. */
const BUSY: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'queue_full',
  'queue_timeout',
  'starting',
  'draining',
]);

/** Codes that only mean "not now", which is less informative than a real failure. */
const PASSING: ReadonlySet<ErrorCode> = new Set<ErrorCode>([...BUSY, 'unavailable', 'provider_rate_limited']);

/** If all members refused the request: that it is too long, which clients can act on, or else what names a field. */
function tellingRefusal(failures: readonly LMServError[]): LMServError | undefined {
  if (!failures.every((error) => MEMBERS_OWN.has(error.code))) return undefined;
  const tooLong = failures.findLast((error) => error.code === 'context_length_exceeded');
  return tooLong ?? failures.find((error) => error.param !== undefined) ?? failures[0];
}

function summary(failures: readonly LMServError[], tried: number): LMServError {
  const refusal = tellingRefusal(failures);
  if (refusal !== undefined) return refusal;
  // What may pass brings the client back; a refusal alone does not.
  const others = failures.filter((error) => !MEMBERS_OWN.has(error.code));
  const telling = others.find((error) => !PASSING.has(error.code)) ?? others[0];
  if (telling === undefined) return new LMServError('unavailable');
  if (tried === 1) return telling;
  const hints = failures.flatMap((error) => error.retryAfter ?? []);
  const { stderr, providerStatus } = telling;
  return new LMServError('unavailable', `No backend can serve this request now: ${telling.message}`, {
    retryAfter: hints.length > 0 ? Math.min(...hints) : undefined,
    ...{ stderr, providerStatus, cause: telling },
  });
}
