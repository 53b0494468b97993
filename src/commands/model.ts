/** `lmserv model`, also `npm run model`: puts a GGUF model into models/. */
import path from 'node:path';
import { InvalidArgumentError, type Command } from 'commander';
import { processEnv } from '../config/load.js';
import { ROOT } from '../config/root.js';
import { interruptible } from '../install/early/interrupt.mjs';
import type { Model } from '../install/models/ensure.js';
import type { ModelProgress } from '../install/models/fetch.js';
import type { Progress } from '../install/progress.js';

export interface ModelFlags {
  readonly name?: string;
  /** Lower-case hex. */
  readonly sha256?: string;
}

export function addModelCommand(
  program: Command,
  run: (spec: string, flags: ModelFlags) => void | Promise<void> = runModel,
): void {
  program
    .command('model')
    .description('put a GGUF model into models/')
    .argument('<model>', 'org/repo[:quant] of the model hub, an https URL, or the path of a file')
    .option('--name <name>', 'its file name there, which is also its model id')
    .option('--sha256 <hex>', 'the expected checksum', parseSha256)
    .addHelpText('after', '\nHF_TOKEN gives access to private repositories; HF_ENDPOINT names another hub.')
    .action((spec: string, flags: ModelFlags) => run(spec, flags));
}

function parseSha256(text: string): string {
  if (/^[0-9a-f]{64}$/i.test(text)) return text.toLowerCase();
  throw new InvalidArgumentError('It must be 64 hexadecimal digits.');
}

async function runModel(text: string, flags: ModelFlags): Promise<void> {
  const { parseModelSpec } = await import('../install/models/spec.js');
  const spec = parseModelSpec(text);
  const lines = spec.kind === 'path' ? await link(spec.path, flags) : await fetchModel(text, flags);
  process.stdout.write(`${lines.join('\n')}\n`);
}

const MODELS_DIR = path.join(ROOT, 'models');

const forEnv = (file: string): string => `LLM_MODEL_PATH=${path.relative(ROOT, file)}`;

async function link(file: string, { name }: ModelFlags): Promise<string[]> {
  const { linkModel } = await import('../install/models/ensure.js');
  const { path: target, linked } = await linkModel(path.resolve(file), MODELS_DIR, name);
  return [linked ? 'Linked into models/; nothing was copied.' : 'It is already in models/.', forEnv(target)];
}

async function fetchModel(text: string, flags: ModelFlags): Promise<string[]> {
  const { obtainModel } = await import('../install/models/ensure.js');
  const { formatBytes, startProgress } = await import('../install/progress.js');
  const { hubOptions } = await import('../install/models/hub.js');
  const hub = hubOptions(processEnv(ROOT));
  const bars = new FileBars(startProgress);
  const describe = ({ files }: Model): string[] =>
    files.length === 0
      ? ['It is already here.']
      : files.map(({ name, size, sha256 }) => `${name}: ${formatBytes(size)}, sha256 ${sha256}`);
  try {
    const model = await interruptible((signal) =>
      obtainModel(text, {
        ...hub,
        ...flags,
        modelsDir: MODELS_DIR,
        signal,
        onProgress: (at) => bars.update(at),
      }),
    );
    return [...describe(model), 'Add this line to .env:', forEnv(model.path)];
  } finally {
    bars.stop();
  }
}

/** One bar for each file in turn. */
class FileBars {
  readonly #start: (label: string, unit: 'bytes') => Progress;
  #file: string | undefined;
  #bar: Progress | undefined;

  constructor(start: (label: string, unit: 'bytes') => Progress) {
    this.#start = start;
  }

  update({ file, index, count, received, total }: ModelProgress): void {
    if (file !== this.#file) {
      this.stop();
      this.#file = file;
      this.#bar = this.#start(count > 1 ? `${file} (${index} of ${count})` : file, 'bytes');
    }
    this.#bar?.update(received, total ?? 0);
  }

  stop(): void {
    this.#bar?.stop();
  }
}
