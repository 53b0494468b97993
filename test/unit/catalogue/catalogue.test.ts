import { appendFileSync, linkSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Catalogue, type CatalogueOptions } from '../../../src/catalogue/catalogue.js';
import type { ConfigFile } from '../../../src/config/file/schema.js';
import { emptyFolder } from '../../support/folder.js';
import { keptLog } from '../../support/app.js';
import { parse, remote } from '../config/file/helpers.js';
import { gguf, type Entry } from '../doctor/gguf-bytes.js';
import { ADAPTER, LLAMA, model, PROJECTOR, write } from './files.js';

const folder = emptyFolder();
const at = (name: string) => join(folder, name);

/** A configuration of remotes only, so that every local model comes from the folder. */
const REMOTES = parse({ remotes: { box: remote() } });

const SETTINGS = { workers: 1, context: 4096, gpus: [], extraArgs: [], lora: [] };

const options = (more: Partial<CatalogueOptions> = {}): CatalogueOptions => ({
  folders: [folder],
  downloads: at('downloads'),
  settings: SETTINGS,
  reserved: [],
  demo: at('demo.gguf'),
  ...more,
});

const open = (file: ConfigFile = REMOTES, more?: Partial<CatalogueOptions>) =>
  Catalogue.open(file, options(more));

const names = ({ file }: Catalogue) => Object.keys(file.models);

/** Why files are not served, by file. */
const reasons = ({ unusable }: Catalogue): Record<string, string> =>
  Object.fromEntries(unusable.map(({ shown, reason }) => [shown, reason]));

describe('model files in the folder', () => {
  test('are served by their names, also from folders inside it', async () => {
    write(at('tiny.gguf'));
    write(at('Big Model (v2).GGUF'));
    mkdirSync(at('org/repo'), { recursive: true });
    write(at('org/repo/nested-Q4_K_M.gguf'));
    write(at('.hidden.gguf'));
    writeFileSync(at('notes.txt'), 'no model');
    const catalogue = await open();
    expect(names(catalogue)).toEqual(['Big-Model-v2', 'nested-Q4_K_M', 'tiny']);
    expect(catalogue.file.models.tiny).toMatchObject({ path: at('tiny.gguf'), workers: 1, context: 2048 });
    expect(catalogue.file.default).toBe('box');
    expect(catalogue.unusable).toEqual([]);
  });

  test('that make embeddings are served, and their files say what they are for', async () => {
    write(at('vectors.gguf'), [['general.architecture', 'string', 'bert']]);
    const catalogue = await open(REMOTES, { settings: { ...SETTINGS, task: 'rerank' } });
    expect(catalogue.file.models.vectors).toBeDefined();
    expect(catalogue.file.models.vectors!.task).toBeUndefined();
  });

  test.each<[string, readonly Entry[], string]>([
    ['an adapter', ADAPTER, 'an adapter'],
    ['a projector', PROJECTOR, 'an image projector'],
    ['a projector of old', [['general.architecture', 'string', 'clip']], 'an image projector'],
    ['data for quantising', [['general.architecture', 'string', 'imatrix']], 'data for quantising'],
    ['a diffusion model', [['general.architecture', 'string', 'llada']], 'a diffusion model'],
    ['something without an architecture', [['general.name', 'string', 'x']], 'not a model'],
  ])('that hold %s are skipped', async (_, entries, reason) => {
    write(at('x.gguf'), entries);
    const catalogue = await open();
    expect(names(catalogue)).toEqual([]);
    expect(reasons(catalogue)['x.gguf']).toContain(reason);
  });

  test('that are not whole, damaged or not readable are skipped', async () => {
    writeFileSync(at('cut.gguf'), model().subarray(0, -1));
    writeFileSync(at('header.gguf'), model().subarray(0, 40));
    writeFileSync(at('page.gguf'), '<!doctype html>');
    writeFileSync(at('vocabulary.gguf'), gguf([...LLAMA, ['tokenizer.ggml.tokens', 'strings', ['a']]]));
    symlinkSync(at('nothing'), at('dangling.gguf'));
    symlinkSync(at('loop.gguf'), at('loop.gguf'));
    symlinkSync('/dev/null', at('device.gguf'));
    const catalogue = await open();
    expect(names(catalogue)).toEqual([]);
    expect(reasons(catalogue)).toEqual({
      'cut.gguf': expect.stringContaining('cut, or still being copied'),
      'header.gguf': 'damaged or still being copied: it ends in the middle of its header',
      'page.gguf': expect.stringContaining('is not a GGUF file'),
      'vocabulary.gguf': 'only a vocabulary',
      'dangling.gguf': 'a link to a file that is not there',
      'loop.gguf': 'a link that leads back to itself',
      'device.gguf': 'not a regular file',
    });
  });

  test('in parts are one model, from its first part', async () => {
    for (const part of [1, 2, 3]) write(at(`large-0000${part}-of-00003.gguf`));
    for (const part of [1, 3]) write(at(`missing-0000${part}-of-00003.gguf`));
    write(at('late-00002-of-00002.gguf'));
    write(at('cut-00001-of-00002.gguf'));
    writeFileSync(at('cut-00002-of-00002.gguf'), model().subarray(0, -1));
    const catalogue = await open();
    expect(names(catalogue)).toEqual(['large']);
    expect(catalogue.file.models.large!.path).toBe(at('large-00001-of-00003.gguf'));
    expect(reasons(catalogue)).toMatchObject({
      'large-00002-of-00003.gguf': 'part 2 of large-00001-of-00003.gguf',
      'missing-00001-of-00003.gguf': 'incomplete: part 2 of 3 is missing',
      'late-00002-of-00002.gguf': 'part 2 of a model whose first part is missing',
      'cut-00001-of-00002.gguf': expect.stringContaining('incomplete: cut-00002-of-00002.gguf is cut'),
    });
  });

  test('that several links lead to are one model, and the other names are its aliases', async () => {
    write(at('a.gguf'));
    symlinkSync('a.gguf', at('b.gguf'));
    linkSync(at('a.gguf'), at('c.gguf'));
    symlinkSync(folder, at('folder'));
    const catalogue = await open();
    expect(names(catalogue)).toEqual(['a']);
    expect(catalogue.file.models.a!.aliases).toEqual([{ name: 'b' }, { name: 'c' }]);
    expect(reasons(catalogue)['b.gguf']).toBe('served as a, whose file it is');
  });

  test('do not take names of the configuration', async () => {
    for (const name of ['box', 'other', 'group', 'fast', 'own', 'free']) write(at(`${name}.gguf`));
    const file = parse({
      remotes: { box: remote({ aliases: ['other'] }) },
      groups: { group: { members: ['box'] } },
    });
    const catalogue = await open(file, { reserved: ['own'] });
    expect(names(catalogue)).toEqual(['free']);
    expect(reasons(catalogue)['other.gguf']).toBe('not served: the name other is in use');
  });

  test('of configured models are not served twice: they give their name as an alias', async () => {
    write(at('mine.gguf'));
    write(at('second.gguf'));
    const file = parse({ models: { chat: { path: at('mine.gguf'), context: 512 } } });
    const catalogue = await open(file);
    expect(catalogue.file.models).toMatchObject({
      chat: { context: 512, aliases: [{ name: 'mine' }] },
      second: { path: at('second.gguf') },
    });
    expect(catalogue.file.default).toBe('chat');
  });

  test('beside a configured model elsewhere are not served', async () => {
    mkdirSync(at('elsewhere'));
    write(at('elsewhere/mine.gguf'));
    write(at('elsewhere/other.gguf'));
    const catalogue = await open(parse({ models: { chat: { path: at('elsewhere/mine.gguf') } } }), {
      folders: [],
    });
    expect(names(catalogue)).toEqual(['chat']);
    expect(catalogue.unusable).toEqual([]);
  });

  test('include the demo model only when it is configured', async () => {
    write(at('demo.gguf'));
    const catalogue = await open();
    expect(names(catalogue)).toEqual([]);
    expect(reasons(catalogue)['demo.gguf']).toContain('the demo model');
    const configured = await open(parse({ models: { it: { path: at('demo.gguf') } } }));
    expect(configured.file.models).toMatchObject({ it: { aliases: [] } });
    expect(configured.unusable).toEqual([]);
  });

  test('may be none', async () => {
    const catalogue = await open(REMOTES, { folders: [at('missing')] });
    expect(catalogue.file.models).toEqual({});
    expect(catalogue.unusable).toEqual([]);
  });
});

describe('a projector', () => {
  const mmproj = ({ file }: Catalogue, name: string) => file.models[name]?.mmproj;

  test.each([
    ['gemma-3-4b-it-Q4_K_M', 'mmproj-gemma-3-4b-it-f16'],
    ['gemma-3-4b-it-Q4_K_M', 'gemma-3-4b-it.mmproj-Q8_0'],
    ['Qwen2.5-VL-7B-Instruct-UD-Q4_K_XL', 'mmproj-Qwen2.5-VL-7B-Instruct-BF16'],
    ['llava-v1.5-7b-Q4_K', 'llava-v1.5-7b-mmproj-model-f16'],
  ])('of the name of %s gives it images: %s', async (name, projector) => {
    write(at(`${name}.gguf`));
    write(at('another-7b-Q4_0.gguf'));
    write(at(`${projector}.gguf`), PROJECTOR);
    const catalogue = await open();
    expect(mmproj(catalogue, name)).toBe(at(`${projector}.gguf`));
    expect(mmproj(catalogue, 'another-7b-Q4_0')).toBeUndefined();
    expect(reasons(catalogue)[`${projector}.gguf`]).toBe('the image projector of a model beside it');
  });

  test('in the folder of one model belongs to it, in the most fitting precision', async () => {
    mkdirSync(at('gemma'));
    write(at('gemma/gemma-3-4b-it-Q4_0.gguf'));
    write(at('gemma/gemma-3-4b-it-Q8_0.gguf'));
    for (const type of ['F32', 'BF16', 'F16']) write(at(`gemma/mmproj-${type}.gguf`), PROJECTOR);
    const catalogue = await open();
    for (const name of names(catalogue)) expect(mmproj(catalogue, name)).toBe(at('gemma/mmproj-F16.gguf'));
    expect(names(catalogue)).toHaveLength(2);
  });

  test('without a name among several models belongs to none', async () => {
    write(at('mmproj-F16.gguf'), PROJECTOR);
    write(at('one.gguf'));
    const catalogue = await open();
    expect(mmproj(catalogue, 'one')).toBeUndefined();
    expect(reasons(catalogue)['mmproj-F16.gguf']).toContain('no model beside it has its name');
  });

  test('beside a configured model elsewhere gives it images', async () => {
    mkdirSync(at('elsewhere'));
    write(at('elsewhere/gemma.gguf'));
    write(at('elsewhere/mmproj-model-f16.gguf'), PROJECTOR);
    const file = parse({ models: { chat: { path: at('elsewhere/gemma.gguf') } } });
    expect(mmproj(await open(file, { folders: [] }), 'chat')).toBe(at('elsewhere/mmproj-model-f16.gguf'));
  });
});

/** A catalogue that looks when it is told, with the names that were applied each time. */
async function watched(file: ConfigFile = REMOTES) {
  const applied: ConfigFile[] = [];
  let go: (() => void) | undefined;
  const waiting: (() => void)[] = [];
  const refusal: { error?: Error } = {};
  const { logger, lines } = keptLog('debug');
  const catalogue = await open(file, {
    logger,
    apply: async (next) => {
      if (refusal.error) throw refusal.error;
      applied.push(next);
    },
    wait: () =>
      new Promise<void>((resolve) => {
        go = resolve;
        waiting.shift()?.();
      }),
  });
  const look = async () => {
    const next = new Promise<void>((resolve) => waiting.push(resolve));
    go!();
    await next;
  };
  catalogue.watch();
  const lookTwice = async () => {
    await look();
    await look();
  };
  return { catalogue, applied, look, lookTwice, refusal, log: lines };
}

describe('while the server runs', () => {
  test('an added file is served once it stays the same', async () => {
    const { catalogue, applied, look } = await watched();
    write(at('new.gguf'));
    await look();
    expect(applied).toEqual([]);
    expect(reasons(catalogue)['new.gguf']).toContain('being written');
    await look();
    expect(applied.map((file) => Object.keys(file.models))).toEqual([['new']]);
    await look();
    expect(applied).toHaveLength(1);
  });

  test('a file that is being copied is not served, whatever it claims', async () => {
    const { catalogue, applied, look, lookTwice } = await watched();
    const whole = model();
    writeFileSync(at('new.gguf'), whole.subarray(0, 20));
    await lookTwice();
    expect(reasons(catalogue)['new.gguf']).toContain('still being copied');
    appendFileSync(at('new.gguf'), whole.subarray(20, -10));
    await lookTwice();
    expect(reasons(catalogue)['new.gguf']).toContain('still being copied');
    appendFileSync(at('new.gguf'), whole.subarray(-10));
    await look();
    expect(applied).toEqual([]);
    await look();
    expect(names(catalogue)).toEqual(['new']);
  });

  test('a file that is replaced in one step stays in use until the new one is known to be whole', async () => {
    write(at('m.gguf'));
    const { catalogue, applied, look } = await watched();
    const before = catalogue.file.models.m!.revision;
    writeFileSync(at('.new'), model(LLAMA, 1));
    renameSync(at('.new'), at('m.gguf'));
    await look();
    expect(names(catalogue)).toEqual(['m']);
    expect(applied).toEqual([]);
    await look();
    expect(applied).toHaveLength(1);
    expect(catalogue.file.models.m!.revision).not.toBe(before);
  });

  test('a file that is overwritten in place is not served until it is whole', async () => {
    write(at('m.gguf'));
    const { catalogue, look, lookTwice } = await watched();
    writeFileSync(at('m.gguf'), model().subarray(0, -1));
    await look();
    expect(names(catalogue)).toEqual([]);
    await look();
    expect(names(catalogue)).toEqual([]);
    appendFileSync(at('m.gguf'), '\0');
    await lookTwice();
    expect(names(catalogue)).toEqual(['m']);
  });

  test('a removed file is no longer served', async () => {
    write(at('m.gguf'));
    const { catalogue, applied, look, log } = await watched();
    rmSync(at('m.gguf'));
    await look();
    expect(names(catalogue)).toEqual([]);
    expect(applied).toHaveLength(1);
    expect(log.map((line) => JSON.parse(line))).toContainEqual(
      expect.objectContaining({ event: 'models_changed', added: [], removed: ['m'], replaced: [] }),
    );
  });

  test('the file of a configured model that is gone or cut changes nothing; its successor does', async () => {
    write(at('m.gguf'));
    const { catalogue, applied, look, lookTwice } = await watched(
      parse({ models: { chat: { path: at('m.gguf') } } }),
    );
    const before = catalogue.file.models.chat;
    rmSync(at('m.gguf'));
    await look();
    expect(applied.map(({ models }) => models.chat!.revision)).toEqual([before!.revision]);
    writeFileSync(at('m.gguf'), model().subarray(0, 30));
    await lookTwice();
    expect(catalogue.file.models.chat!.revision).toBe(before!.revision);
    write(at('m.gguf'));
    await lookTwice();
    expect(catalogue.file.models.chat!.revision).not.toBe(before!.revision);
  });

  test('a folder that cannot be read for a while changes nothing', async () => {
    mkdirSync(at('disk'));
    write(at('disk/m.gguf'));
    const { catalogue, applied, look } = await watched();
    renameSync(at('disk'), at('.away'));
    symlinkSync('disk', at('disk'));
    await look();
    expect(names(catalogue)).toEqual(['m']);
    expect(applied).toEqual([]);
    rmSync(at('disk'));
    await look();
    expect(names(catalogue)).toEqual([]);
  });

  test('what is refused is tried again when the files change', async () => {
    const { catalogue, applied, look, lookTwice, refusal, log } = await watched();
    refusal.error = new Error('no room');
    write(at('a.gguf'));
    await lookTwice();
    await look();
    expect(names(catalogue)).toEqual([]);
    expect(log.filter((line) => line.includes('models_refused'))).toEqual([
      expect.stringContaining('no room'),
    ]);
    delete refusal.error;
    write(at('b.gguf'));
    await lookTwice();
    expect(applied.map((file) => Object.keys(file.models))).toEqual([['a', 'b']]);
  });

  test('a changed configuration keeps the models of the folder, and its own names win', async () => {
    write(at('a.gguf'));
    write(at('b.gguf'));
    const { catalogue, applied, refusal } = await watched();
    await catalogue.use(parse({ remotes: { a: remote() } }));
    expect(applied.map((file) => Object.keys(file.models))).toEqual([['b']]);
    refusal.error = new Error('no');
    await expect(catalogue.use(REMOTES)).rejects.toThrow('no');
    expect(names(catalogue)).toEqual(['b']);
  });

  test('nothing is applied any more once it is closed', async () => {
    const { catalogue, applied, look } = await watched();
    write(at('a.gguf'));
    await look();
    catalogue.close();
    await new Promise(setImmediate);
    expect(applied).toEqual([]);
  });
});
