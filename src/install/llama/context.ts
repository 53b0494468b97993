/** What every step of a setup is given. */
import type { ProgressStream } from '../progress.js';
import type { Flavour } from './flavour.js';
import type { Layout } from './layout.js';
import type { Pin } from './pin.js';

export interface SetupContext {
  root: string;
  env: NodeJS.ProcessEnv;
  signal: AbortSignal | undefined;
  /** Where progress goes. */
  output: ProgressStream;
  pin: Pin;
  layout: Layout;
  flavour: Flavour;
  /** cmake's flags. */
  flags: readonly string[];
  /** Compilers at once. */
  jobs: number;
}
