import { StderrTail } from '../../../workers/stderr-tail.js';

test('lines are passed on whole, wherever the chunks are cut', () => {
  const lines: string[] = [];
  const tail = new StderrTail((line) => lines.push(line));
  for (const piece of ['on', 'e\ntw', 'o\r\n', 'three']) tail.push(piece);
  expect(lines).toEqual(['one', 'two']);
});

test('no lines are passed on after stopLines(), and the text is still kept', () => {
  const lines: string[] = [];
  const tail = new StderrTail((line) => lines.push(line));
  tail.push('one\ntwo');
  tail.stopLines();
  tail.push(' and a half\nthree\n');
  expect(lines).toEqual(['one']);
  expect(tail.lastLines(2)).toEqual(['two and a half', 'three']);
});

test('a flood of output is bounded and keeps the end', () => {
  const tail = new StderrTail(() => undefined);
  for (let i = 0; i < 1_000; i += 1) tail.push(`${'x'.repeat(999)}\n`);
  tail.push('the end\n');
  expect(tail.lastLines(1)).toEqual(['the end']);
  expect(tail.since(0, Infinity).length).toBeLessThanOrEqual(128 * 1024);
});

test('since() returns the output after a position, even if that was dropped', () => {
  const tail = new StderrTail(() => undefined);
  tail.push('before\n');
  const mark = tail.position();
  tail.push('after\n');
  expect(tail.since(mark, 100)).toBe('after\n');
  expect(tail.since(mark, 3)).toBe('er\n');
  tail.push('y'.repeat(300_000));
  expect(tail.since(mark, 5)).toBe('yyyyy');
});

test('lastError() finds the last error without its prefix and paths', () => {
  const tail = new StderrTail(() => undefined);
  expect(tail.lastError()).toBeUndefined();
  tail.push('0.00.006.228 E llama_model_load: error loading model: cannot open /srv/models/x.gguf\n');
  tail.push('0.00.007.000 I srv  llama_server: cleaning up\n');
  expect(tail.lastError()).toBe('error loading model: cannot open [path]');
});

test('a grammar that llama.cpp quotes on stderr is removed, and the following lines are kept', () => {
  const tail = new StderrTail(() => undefined);
  const log = '0.00.012.345 E srv  send_error: task id = 0';
  tail.push(
    `before\nparse: error parsing grammar: expecting name at my secret\n\nroot ::= "my secret"\n x\n${log}\n`,
  );
  const shown = ['before', 'parse: error parsing grammar: [grammar]', log];
  expect(tail.lastLines(9)).toEqual(shown);
  expect(tail.since(0, 1000)).toBe(`${shown.join('\n')}\n`);
});
