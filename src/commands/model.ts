/** `npm run model`: the command line of fetching models. */
import path from 'node:path';
import { parseArgs } from 'node:util';
import { readDotenv } from '../files/dotenv.js';
import { interruptible } from '../install/early/interrupt.mjs';
import { DownloadError } from '../install/download/errors.js';
import { formatBytes, startProgress, type Progress } from '../install/progress.js';
import { obtainModel, type Model, type ModelOptions } from '../install/models/ensure.js';
import { ModelError } from '../install/models/errors.js';
import type { ModelProgress } from '../install/models/fetch.js';
import { linkModel } from '../install/models/link.js';
import { parseModelSpec } from '../install/models/spec.js';

const USAGE = `npm run model -- <org/repo[:quant] | https-url | path> [options]: puts a GGUF model into models/
  --name NAME     its file name there, and so its model id
  --sha256 HEX    the checksum that it must have
HF_TOKEN is used for private repositories, HF_ENDPOINT names another hub.`;

const OPTIONS = {
  name: { type: 'string' },
  sha256: { type: 'string' },
  help: { type: 'boolean', short: 'h', default: false },
} as const;

interface Arguments {
  spec: string;
  name: string | undefined;
  sha256: string | undefined;
}

/** @returns undefined when help was asked for. @throws ModelError with the usage */
export function parseModelArgs(args: readonly string[]): Arguments | undefined {
  try {
    const { values, positionals } = parseArgs({ args: [...args], options: OPTIONS, allowPositionals: true });
    if (values.help) return undefined;
    const [spec, ...rest] = positionals;
    if (spec === undefined || rest.length > 0) throw new Error('Name one model.');
    if (values.sha256 !== undefined && !/^[0-9a-f]{64}$/i.test(values.sha256)) {
      throw new Error('--sha256 wants 64 hex digits.');
    }
    return { spec, name: values.name, sha256: values.sha256?.toLowerCase() };
  } catch (error) {
    throw new ModelError(`${error instanceof Error ? error.message : String(error)}\n${USAGE}`);
  }
}

/** One bar for each file in turn. */
class FileBars {
  private file: string | undefined;
  private bar: Progress | undefined;

  update({ file, index, count, received, total }: ModelProgress): void {
    if (file !== this.file) {
      this.stop();
      this.file = file;
      this.bar = startProgress(count > 1 ? `${file} (${index} of ${count})` : file, 'bytes');
    }
    this.bar?.update(received, total ?? 0);
  }

  stop(): void {
    this.bar?.stop();
  }
}

/** HF_TOKEN and HF_ENDPOINT from the environment, else from the checkout's .env. */
function hubSettings(root: string): Pick<ModelOptions, 'endpoint' | 'token'> {
  const dotenv = readDotenv(path.join(root, '.env'));
  const setting = (name: string): string | undefined => process.env[name] || dotenv[name] || undefined;
  return { endpoint: setting('HF_ENDPOINT'), token: setting('HF_TOKEN') };
}

async function fetchModel(
  { spec, name, sha256 }: Arguments,
  root: string,
  modelsDir: string,
): Promise<Model> {
  const bars = new FileBars();
  try {
    const hub = hubSettings(root);
    return await interruptible((signal) =>
      obtainModel(spec, { ...hub, modelsDir, name, sha256, signal, onProgress: (at) => bars.update(at) }),
    );
  } finally {
    bars.stop();
  }
}

function describeFetched({ files }: Model): string[] {
  if (files.length === 0) return ['It is here already.'];
  return files.map(({ name, size, sha256 }) => `${name}: ${formatBytes(size)}, sha256 ${sha256}`);
}

async function run(parsed: Arguments, root: string): Promise<string[]> {
  const modelsDir = path.join(root, 'models');
  const spec = parseModelSpec(parsed.spec);
  const forEnv = (file: string): string => `LLM_MODEL_PATH=${path.relative(root, file)}`;
  if (spec.kind === 'path') {
    const { path: file, linked } = await linkModel(path.resolve(spec.path), modelsDir, parsed.name);
    return [linked ? 'Linked into models/; nothing was copied.' : 'It is in models/ already.', forEnv(file)];
  }
  const model = await fetchModel(parsed, root, modelsDir);
  return [...describeFetched(model), 'Put this line into .env:', forEnv(model.path)];
}

/** Runs the command; a failure is written and makes the exit code 1. */
export async function main(args: readonly string[], { root }: { root: string }): Promise<void> {
  try {
    const parsed = parseModelArgs(args);
    const lines = parsed === undefined ? [USAGE] : await run(parsed, root);
    process.stdout.write(`${lines.join('\n')}\n`);
  } catch (error) {
    if (!(error instanceof ModelError || error instanceof DownloadError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 1;
  }
}
