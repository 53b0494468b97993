/** Loaded into the server's process before the server: measures its pauses and sets its wall clock on request. */
import { report, watchPauses } from './pauses.js';

/** How far the wall clock is off from now on, milliseconds. */
interface ClockMessage {
  readonly shiftMs: number;
}

let shiftMs = 0;
const realNow = Date.now;

Date.now = () => realNow() + shiftMs;
globalThis.Date = new Proxy(Date, {
  construct: (target, args: unknown[], caller: NewableFunction) =>
    Reflect.construct(target, args.length === 0 ? [Date.now()] : args, caller) as object,
});

process.on('message', (message: ClockMessage) => (shiftMs = message.shiftMs));
// Listening must not keep a stopped server alive.
process.channel?.unref();
watchPauses(report);
