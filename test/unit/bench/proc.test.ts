import { parseCpuMs, parseListening, parseMib } from '../../../bench/proc.js';

test('processor time is user and system time, whatever the program is called', () => {
  const fields = Array.from({ length: 50 }, (_, index) => String(index + 3));
  fields[11] = '150';
  fields[12] = '50';
  expect(parseCpuMs(`123 (odd) name ) ${fields.join(' ')}`)).toBe(2000);
});

test('memory is read in MiB', () => {
  expect(parseMib('VmRSS:\t    4096 kB\nRssAnon:\t    2048 kB\n', 'RssAnon')).toBe(2);
  expect(parseMib('VmRSS:\t    4096 kB\n', 'Pss')).toBeNaN();
});

test('only sockets that listen are listening sockets', () => {
  const head =
    '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n';
  const rows = [
    '   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0',
    '   1: 0100007F:1F91 0100007F:A000 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1 0',
  ];
  expect(parseListening(head + rows.join('\n') + '\n')).toEqual([{ port: 8080, inode: '4711' }]);
});
