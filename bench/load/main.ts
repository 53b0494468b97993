/** The load client's process: it receives jobs and sends results as messages, and ends with its parent. */
import { type LoadJob, type LoadResult, runJob } from './job.js';

process.on('message', (job: LoadJob) => void runJob(job).then(report));
process.on('disconnect', () => process.exit());
// Ctrl-C reaches the whole process group; the parent decides.
process.on('SIGINT', () => undefined);

/** A parent that has ended needs no result. */
function report(result: LoadResult): void {
  process.send?.(result, () => undefined);
}
