/** The load client's process: jobs come and results go as messages. It ends with the process that started it. */
import type { LoadJob, LoadResult } from './job.js';
import { runJob } from './run-job.js';

process.on('message', (job: LoadJob) => void runJob(job).then(report));
process.on('disconnect', () => process.exit());
// Ctrl-C reaches the whole group of processes; the one that started this one decides.
process.on('SIGINT', () => undefined);

/** Whoever is gone needs no result. */
function report(result: LoadResult): void {
  process.send?.(result, () => undefined);
}
