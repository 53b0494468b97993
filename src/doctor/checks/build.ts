/** Which llama.cpp suits this machine. */
import { FLAVOUR_NAMES } from '../../install/llama/context.js';
import type { Facts } from '../facts.js';
import { ok, warn, type Finding } from '../findings.js';

/** What `npm run setup` chooses here, and what a GPU that it cannot use lacks. */
export async function checkBuild({ probe }: Facts): Promise<Finding> {
  const { candidates, notes } = await probe.chooseBuild();
  const { flavour, reason } = candidates[0]!;
  const found = `npm run setup chooses ${FLAVOUR_NAMES[flavour]}: ${reason}`;
  return notes.length === 0 ? ok(found) : warn(found, notes.map((note) => note.trim()).join(' '));
}
