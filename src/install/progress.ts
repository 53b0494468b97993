/** Shows progress: a bar on a terminal, elsewhere (logs, CI) a line at every tenth. */
import { SingleBar, type Options } from 'cli-progress';

export interface Progress {
  /** Reports the amount done out of the total, in the unit of the progress. */
  update(done: number, total: number, detail?: string): void;
  /** Ends the line; safe to call more than once. */
  stop(): void;
}

/** The output for progress; isTTY marks a terminal. */
export type ProgressStream = NodeJS.WritableStream & { isTTY?: boolean };

/** The unit of a step's progress. */
export type ProgressUnit = 'bytes' | 'percent' | 'work';

const LINE_EVERY_PERCENT = 10;
const UNITS = ['B', 'kB', 'MB', 'GB', 'TB'];

/** Rate per second since the first report, so that what a resumed run has already done does not count. */
class Rate {
  readonly #began = performance.now();
  #first: number | undefined;

  perSecond(done: number): number {
    this.#first ??= done;
    const seconds = (performance.now() - this.#began) / 1000;
    return seconds > 0 ? (done - this.#first) / seconds : 0;
  }

  elapsed(): number {
    return (performance.now() - this.#began) / 1000;
  }
}

/** 1536000 → "1.5 MB" (powers of 1000, as model hubs count). */
export function formatBytes(bytes: number): string {
  const power = Math.min(Math.max(Math.floor(Math.log10(Math.max(bytes, 1)) / 3), 0), UNITS.length - 1);
  const value = bytes / 1000 ** power;
  return `${value.toFixed(power === 0 || value >= 100 ? 0 : 1)} ${UNITS[power] ?? ''}`;
}

/** 75 → "1:15", 3700 → "1:01:40". */
export function formatSeconds(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const shown = parts[0] === 0 ? parts.slice(1) : parts;
  return shown.map((part, index) => (index === 0 ? String(part) : String(part).padStart(2, '0'))).join(':');
}

/** Starts showing one step's progress. */
export function startProgress(
  label: string,
  unit: ProgressUnit,
  stream: ProgressStream = process.stderr,
): Progress {
  return stream.isTTY ? terminalProgress(label, unit, stream) : plainProgress(label, unit, stream);
}

function terminalProgress(label: string, unit: ProgressUnit, stream: ProgressStream): Progress {
  const options: Options = {
    format: `${label} {bar} {percentage} % {info}`,
    barsize: 25,
    barCompleteChar: '█',
    barIncompleteChar: '░',
    stream,
    hideCursor: true,
    clearOnComplete: false,
    gracefulExit: false,
  };
  const bar = new SingleBar(options);
  const rate = new Rate();
  bar.start(100, 0, { info: '' });
  return {
    update: (done, total, detail) => {
      const info = [describe(unit, rate, done, total), detail].filter(Boolean).join(' ');
      bar.update(Math.floor(fractionOf(done, total) * 100), { info: info.slice(0, 60) });
    },
    stop: () => bar.stop(),
  };
}

/** "1.2 GB of 4.9 GB, 31 MB/s, 2:00 left" for bytes, "2:00 left" for work; the time spent so far for percentages. */
function describe(unit: ProgressUnit, rate: Rate, done: number, total: number): string {
  if (unit === 'percent') return formatSeconds(rate.elapsed());
  const speed = rate.perSecond(done);
  const left = speed > 0 ? `, ${formatSeconds((total - done) / speed)} left` : '';
  if (unit === 'work') return left.slice(2);
  return `${formatBytes(done)} of ${formatBytes(total)}, ${formatBytes(speed)}/s${left}`;
}

const fractionOf = (done: number, total: number): number => (total > 0 ? Math.min(done / total, 1) : 0);

function plainProgress(label: string, unit: ProgressUnit, stream: ProgressStream): Progress {
  const rate = new Rate();
  let shown = -1;
  return {
    update: (done, total, detail) => {
      const percent = Math.floor((fractionOf(done, total) * 100) / LINE_EVERY_PERCENT) * LINE_EVERY_PERCENT;
      if (percent <= shown) return;
      shown = percent;
      const info = [describe(unit, rate, done, total), unit === 'work' ? detail : ''].filter(Boolean);
      stream.write(`${label}: ${percent} % (${info.join(', ')})\n`);
    },
    stop: () => undefined,
  };
}
