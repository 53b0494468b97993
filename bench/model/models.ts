import { mkdir, rename, stat } from 'node:fs/promises';
import path from 'node:path';
import { cacheDir } from '../../src/install/early/lock.mjs';
import { exists } from '../../src/install/files.js';
import { DEMO_MODEL } from '../../test/harness/server-process.js';
import { writeGguf } from './gguf-writer.js';
import { randomModel, type Shape } from './random-model.js';

/** A model to measure with. */
export interface BenchModel {
  readonly name: ModelName;
  readonly path: string;
  /** Bytes of its file. */
  readonly bytes: number;
}

export const MODEL_NAMES = ['demo', 'large'] as const;
export type ModelName = (typeof MODEL_NAMES)[number];

/** 26.9 million parameters. */
const SHAPE: Shape = { vocabulary: 32_000, width: 256, layers: 10, heads: 4, hidden: 1024, context: 4096 };

/** Files of other revisions are ignored: count up when the content changes. */
const REVISION = 1;

/** The folder for what benchmarks generate or download, outside the checkout. */
export const benchCache = (): string => path.join(cacheDir(), 'bench');

/** The demo model of the checkout, or the larger one, which is generated on first use. */
export async function obtainModel(name: ModelName): Promise<BenchModel> {
  const file = name === 'demo' ? DEMO_MODEL : await largeModel();
  return { name, path: file, bytes: (await stat(file)).size };
}

async function largeModel(): Promise<string> {
  const file = path.join(benchCache(), `random-${REVISION}.gguf`);
  if (await exists(file)) return file;
  await mkdir(path.dirname(file), { recursive: true });
  // Two runs may generate it at once; each renames a whole file into place.
  const part = `${file}.${process.pid}.part`;
  const { settings, tensors } = randomModel(SHAPE);
  await writeGguf(part, settings, tensors);
  await rename(part, file);
  return file;
}
