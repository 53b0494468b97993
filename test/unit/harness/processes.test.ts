import { parseListening, parseMib, parseStat, treeOf } from '../../harness/processes.js';

test('a process is read from its stat line, whatever the program is called', () => {
  const fields = Array.from({ length: 50 }, (_, index) => String(index + 3));
  fields[0] = 'S';
  fields[11] = '150';
  fields[12] = '50';
  expect(parseStat(`123 (odd) name ) ${fields.join(' ')}`)).toEqual({
    pid: 123,
    name: 'odd) name ',
    state: 'S',
    parent: 4,
    group: 5,
    cpuMs: 2000,
  });
});

test('memory is read in MiB', () => {
  expect(parseMib('VmRSS:\t    4096 kB\nRssAnon:\t    2048 kB\n', 'RssAnon')).toBe(2);
  expect(parseMib('VmRSS:\t    4096 kB\n', 'Pss')).toBeNaN();
});

test('only sockets in the listening state are listening sockets', () => {
  const head =
    '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n';
  const rows = [
    '   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0',
    '   1: 0100007F:1F91 0100007F:A000 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1 0',
  ];
  expect(parseListening(head + rows.join('\n') + '\n')).toEqual([{ port: 8080, inode: '4711' }]);
});

test('a process belongs to the tree of its parent', () => {
  expect(treeOf(process.ppid)).toContain(process.pid);
});
