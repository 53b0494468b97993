/** The control process: until the run ends, it only measures how late its own timer is. */
import { report, watchPauses } from './pauses.js';

watchPauses(report);
// Listening keeps it alive for as long as the run does.
process.on('message', () => undefined);
