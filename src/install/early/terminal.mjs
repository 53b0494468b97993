/**
 * Lets a process whose terminal was closed end in good order. Node 20 and 22 abort at their end when they cannot restore
 * the modes of a terminal that they began with; descriptors that are closed by then are left alone.
 */
import { closeSync } from 'node:fs';
import { isatty } from 'node:tty';

const terminals = [0, 1, 2].filter((descriptor) => isatty(descriptor));

process.on('exit', () => {
  for (const descriptor of terminals) if (!isatty(descriptor)) close(descriptor);
});

function close(descriptor) {
  try {
    closeSync(descriptor);
  } catch {
    // It was closed already.
  }
}
