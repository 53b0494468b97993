import type { LoadJob, LoadResult } from './job.js';
import { fetchReply, type ReplyTimes } from './reply.js';

/** Asks for all replies of a job and adds up what was seen. */
export async function runJob(job: LoadJob): Promise<LoadResult> {
  const replies: ReplyTimes[] = [];
  const bodies = job.bodies.entries();
  const began = performance.now();
  const stream = async () => {
    for (const [index, body] of bodies) replies.push(await fetchReply(job, body, job.keys?.[index]));
  };
  await Promise.all(Array.from({ length: job.streams }, stream));
  return { ...total(replies), wallMs: performance.now() - began };
}

/** A reply that failed counts as an error; what it brought is not counted. */
function total(replies: readonly ReplyTimes[]): Omit<LoadResult, 'wallMs'> {
  const whole = replies.filter(({ error }) => error === undefined);
  return {
    replies: whole.length,
    events: whole.reduce((sum, { tokens }) => sum + tokens.length, 0),
    errors: countBy(replies.flatMap(({ error }) => error ?? [])),
    firstTokenMs: Float64Array.from(whole.flatMap(({ tokens }) => tokens[0] ?? [])),
    gapMs: Float64Array.from(whole.flatMap(({ tokens }) => gaps(tokens))),
  };
}

function gaps(times: readonly number[]): number[] {
  return times.slice(1).map((time, index) => time - times[index]!);
}

function countBy(reasons: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const reason of reasons) counts[reason] = (counts[reason] ?? 0) + 1;
  return counts;
}
