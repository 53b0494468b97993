/** A way to build one flavour; setup tries them in turn. */
import type { Flavour, SetupContext } from './context.js';
import type { Steps } from './steps.js';
import type { Tool } from './tools.js';

export interface Plan {
  readonly flavour: Flavour;
  /** For messages, such as `CUDA, with prebuilt libraries`. */
  readonly label: string;
  /** Whether it uses prebuilt libraries. */
  readonly prebuilt: boolean;
  /** The folder's name in the cache, without what identifies source and inputs. */
  readonly name: string;
  /** What the build depends on besides the source. */
  readonly inputs: readonly string[];
  readonly tools: readonly Tool[];
  /** Peak size of a first build, bytes, measured and with a margin. */
  readonly space: number;
  /**
   * Puts the programs and their libraries into `folder`/bin, continuing an interrupted build.
   * @throws UnfitError if it cannot work on this machine; SetupError
   */
  make(context: SetupContext, folder: string, steps: Steps): Promise<void>;
}
