/** Small questions to the file system. */
import { access } from 'node:fs/promises';

/** Whether there is something at a path, links followed. */
export function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}
