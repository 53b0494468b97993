/** The control process: does nothing but measure how late its own timer is, until the run ends. */
import { report, watchPauses } from './pauses.js';

watchPauses(report);
// Listening keeps it alive for as long as the run does.
process.on('message', () => undefined);
