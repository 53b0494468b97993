/** Watching a file by way of its folder, because editors and `keys add` replace the file instead of writing to it. */

import { watch, type FSWatcher } from 'node:fs';
import { dirname } from 'node:path';

/** One change comes as a handful of events; this many milliseconds after the first it is looked at once. */
const DEBOUNCE_MS = 50;

/**
 * Calls `onChange` after anything in the folder of `file` changed. Other files count too: where the file is a
 * symbolic link, as in a mounted Kubernetes secret, it is not the link that changes.
 *
 * @returns stops watching.
 */
export function watchFolder(
  file: string,
  { onChange, onError }: { onChange: () => void; onError: (error: unknown) => void },
): () => void {
  let timer: NodeJS.Timeout | undefined;
  let watcher: FSWatcher | undefined;
  const look = (): void => {
    timer = undefined;
    onChange();
  };
  try {
    // Not begun anew at each event, or a busy folder would put it off for ever.
    watcher = watch(
      dirname(file),
      { persistent: false },
      () => (timer ??= setTimeout(look, DEBOUNCE_MS).unref()),
    );
    watcher.on('error', onError);
  } catch (error) {
    onError(error);
  }
  return () => {
    clearTimeout(timer);
    watcher?.close();
  };
}
