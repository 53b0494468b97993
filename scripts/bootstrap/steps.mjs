/** What the bootstrap's steps share: output, errors and running other programs. */
import { spawn } from 'node:child_process';

/** A step failed in a way whose message is all that the user needs. */
export class StepError extends Error {}

/** Progress goes to stderr, so that a command's own stdout stays clean. */
export function say(line) {
  process.stderr.write(`${line}\n`);
}

/**
 * Runs a program to its end, with its output collected (at most the last 64 KiB).
 * @returns its exit code (null when a signal ended it) and output
 * @throws what the signal was aborted with; StepError when the program cannot be started
 */
export function runProgram(command, args, { cwd, signal }) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'], signal });
    let output = '';
    const collect = (chunk) => {
      output = (output + chunk).slice(-65_536);
    };
    child.stdout.setEncoding('utf8').on('data', collect);
    child.stderr.setEncoding('utf8').on('data', collect);
    child.on('error', (error) => {
      // After an abort the program is still ending: its close event settles.
      if (!signal?.aborted) reject(new StepError(`Cannot start ${command}: ${error.message}`));
    });
    child.on('close', (code) => (signal?.aborted ? reject(signal.reason) : resolve({ code, output })));
  });
}

/**
 * A bar on a terminal, else a line at every quarter. Not cli-progress, because it runs before there is a node_modules.
 * @returns a function that takes the fraction done, 0 to 1
 */
export function quarterBar(label, stream = process.stderr) {
  let shown = -1;
  return (fraction) => {
    const percent = Math.floor(Math.min(Math.max(fraction, 0), 1) * 100);
    const due = stream.isTTY ? percent : Math.floor(percent / 25) * 25;
    if (due <= shown) return;
    shown = due;
    if (!stream.isTTY) return void stream.write(`${label}: ${due} %\n`);
    const filled = Math.round(percent / 4);
    const bar = '█'.repeat(filled) + '░'.repeat(25 - filled);
    stream.write(`\r${label} ${bar} ${String(percent).padStart(3)} %${percent === 100 ? '\n' : ''}`);
  };
}
