import { join } from 'node:path';
import { ROOT } from '../../src/config/root.js';
import type { JsonObject } from '../../src/contract.js';
import { resolveBinary } from '../../workers/binary.js';
import { newFolder } from '../support/folder.js';
import { TestPool } from '../support/pool.js';
import { Vocabulary, writeModel } from './vocabulary-model.js';

/** Texts with a gap, on random weights with the vocabularies of models that fill gaps. */

const folder = newFolder();

async function poolWith(name: string): Promise<TestPool> {
  const modelPath = join(folder, `${name}.gguf`);
  await writeModel(modelPath, new Vocabulary(name));
  const binary = await resolveBinary({ configured: process.env.LLM_BIN_PATH, root: ROOT });
  return new TestPool({}, { binary, modelPath, ctxSize: 1024, threads: 1 }).ready();
}

const settings = { temperature: 0, max_tokens: 16, ignore_eos: true };
const gap = { prompt: 'def add(a, b):\n', suffix: '\n\nprint(add(1, 2))' };

const ask = (pool: TestPool, body: JsonObject) =>
  pool.run({ kind: 'raw', n: 1, body: { ...settings, ...body } });

test.each([
  ['refact', '<fim_prefix>', '<fim_suffix>', '<fim_middle>'],
  ['starcoder', '<fim_prefix>', '<fim_suffix>', '<fim_middle>'],
  ['deepseek-coder', '<｜fim▁begin｜>', '<｜fim▁hole｜>', '<｜fim▁end｜>'],
])(
  '%s fills the gap between its marks, also after its worker was killed',
  async (name, before, behind, middle) => {
    const pool = await poolWith(name);
    const prompt = before + gap.prompt + behind + gap.suffix + middle;
    const expected = await ask(pool, { prompt }).text();
    const { events } = ask(pool, gap);
    let text = '';
    let killed = false;
    for await (const event of events) {
      if (event.type === 'text') text += event.text;
      if (killed || text === '') continue;
      killed = true;
      await pool.killOutside();
    }
    expect(text).toBe(expected);
  },
);

test('a model without such marks refuses a suffix', async () => {
  const pool = await poolWith('llama-bpe');
  await expect(ask(pool, gap).text()).rejects.toMatchObject({ code: 'invalid_value', param: 'suffix' });
});
