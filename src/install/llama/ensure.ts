/** Builds llama.cpp at `npm start` if there is no usable binary. */
import path from 'node:path';
import { BinaryError, resolveBinary } from '../../../workers/binary.js';
import { readDotenv } from '../../files/dotenv.js';
import { CacheError, prepareCache } from '../early/lock.mjs';
import type { ProgressStream } from '../progress.js';
import { SetupError } from './context.js';
import type { SetupOptions } from './setup.js';

/** @returns whether there is a usable binary now; if not, the output says what to do */
export async function ensureLlama(options: SetupOptions): Promise<boolean> {
  const { root, env = process.env } = options;
  const configured = configuredBinary(root, env);
  try {
    await resolveBinary({ root, configured, searchPath: env['PATH'], env });
    return true;
  } catch (error) {
    if (!(error instanceof BinaryError)) throw error;
    if (configured === undefined) return setUp(options, error);
    write(options, error.message);
    return false;
  }
}

/** LLM_BIN_PATH from the environment, otherwise from the checkout's .env. */
function configuredBinary(root: string, env: NodeJS.ProcessEnv): string | undefined {
  return { ...readDotenv(path.join(root, '.env')), ...env }.LLM_BIN_PATH || undefined;
}

/** Explains why an existing binary is unusable and how long a build takes, then builds. */
async function setUp(options: SetupOptions, found: BinaryError): Promise<boolean> {
  if (found.code !== 'missing') write(options, `Not used: ${found.message}`);
  try {
    await prepareCache(options.env);
    write(options, 'No usable llama.cpp was found. Getting it takes a minute or two, once for all clones.');
    // Loaded only now, because it would slow down every other start.
    const { setup } = await import('./setup.js');
    const { binary } = await setup(options);
    write(options, `llama.cpp is ready: ${path.relative(options.root, binary)}`);
    return true;
  } catch (error) {
    if (!(error instanceof SetupError || error instanceof CacheError)) throw error;
    write(options, error.message);
    return false;
  }
}

const write = (options: SetupOptions, text: string): void => {
  const output: ProgressStream = options.output ?? process.stderr;
  output.write(`${text}\n`);
};
