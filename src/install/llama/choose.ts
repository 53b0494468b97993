/** Which builds suit a machine, the best first, and why. */
import { FLAVOUR_NAMES, SetupError, type Flavour, type Libraries, type Pin } from './context.js';
import type { Machine } from './machine.js';
import { libraryLines } from './tools.js';

/** A flavour that is worth trying. */
export interface Candidate {
  readonly flavour: Flavour;
  /** Why, in a few words for a person. */
  readonly reason: string;
  /** The prebuilt libraries that suit; without them everything is compiled. */
  readonly libraries?: Libraries;
}

/** A flavour that does not suit, and what would change that, if anything. */
interface Unsuited {
  readonly why: string;
  readonly missing?: readonly string[];
}

type Pinned = Pin['libraries'][string];

/** The shared libraries that decide about flavours. */
export function neededLibraries(pin: Pin): string[] {
  const all = Object.values(pin.libraries).flatMap((flavours) => Object.values(flavours).flat());
  return [...new Set(all.flatMap(({ needs }) => needs))];
}

/**
 * The builds to try for `--gpu auto`; the last one works without a GPU.
 * @returns also lines about GPUs that are here but lack something
 */
export async function chooseFlavours(
  pin: Pin,
  machine: Machine,
  env: NodeJS.ProcessEnv,
): Promise<{ candidates: Candidate[]; notes: string[] }> {
  const pinned = pin.libraries[machine.platform];
  if (pinned === undefined) return { candidates: [chooseNative(machine)], notes: [] };
  const considered = [considerCuda(pinned, machine), considerVulkan(pinned, machine)];
  const unsuited = considered.filter((each) => 'why' in each);
  const cpu = { flavour: 'cpu', reason: unsuited.map(({ why }) => why).join(', ') } as const;
  return {
    candidates: [...considered.filter((each) => 'flavour' in each), withLibraries(cpu, pinned, machine)],
    notes: (await Promise.all(unsuited.map((each) => noteOf(each, env)))).flat(),
  };
}

async function noteOf({ why, missing = [] }: Unsuited, env: NodeJS.ProcessEnv): Promise<string[]> {
  return missing.length === 0
    ? []
    : [`There is ${why}. Install with:`, ...(await libraryLines(missing, env))];
}

/** The build for `--gpu FLAVOUR`. @throws SetupError naming what it needs and this machine lacks */
export async function chooseNamed(
  flavour: Flavour,
  pin: Pin,
  machine: Machine,
  env: NodeJS.ProcessEnv,
): Promise<Candidate> {
  const candidate = { flavour, reason: 'as asked for' };
  const variants = pin.libraries[machine.platform]?.[flavour];
  if (variants === undefined) return candidate;
  const suitable = suitableOf(variants, machine);
  if (suitable) return { ...candidate, libraries: suitable };
  if (flavour === 'cuda' && machine.nvcc) return candidate;
  const missing = missingOf(variants, machine);
  throw new SetupError(
    `${FLAVOUR_NAMES[flavour]} needs ${missing.join(', ')}. Install with:`,
    await libraryLines(missing, env),
  );
}

/** The build for `--native`: CUDA with an NVIDIA GPU and its compiler, Metal on a Mac, otherwise the CPU. */
export function chooseNative({ platform, nvidiaGpu, nvcc }: Machine): Candidate {
  if (platform.startsWith('darwin-')) return { flavour: 'metal', reason: 'a Mac' };
  if (!nvidiaGpu) return { flavour: 'cpu', reason: 'no NVIDIA GPU' };
  if (nvcc) return { flavour: 'cuda', reason: 'an NVIDIA GPU and nvcc' };
  return { flavour: 'cpu', reason: 'an NVIDIA GPU but not nvcc, which is part of the CUDA toolkit' };
}

function considerCuda({ cuda }: Pinned, machine: Machine): Candidate | Unsuited {
  if (!machine.nvidiaGpu) return { why: 'no NVIDIA GPU' };
  if (cuda === undefined) return { why: 'an NVIDIA GPU, but no prebuilt CUDA libraries for this platform' };
  const libraries = suitableOf(cuda, machine);
  if (libraries)
    return { flavour: 'cuda', reason: 'an NVIDIA GPU, its driver and the CUDA runtime', libraries };
  const missing = missingOf(cuda, machine);
  return { why: `an NVIDIA GPU, but CUDA needs ${missing.join(', ')}`, missing };
}

function considerVulkan({ vulkan }: Pinned, machine: Machine): Candidate | Unsuited {
  if (!machine.renderNode || machine.vulkanDrivers.length === 0) return { why: 'no Vulkan driver for a GPU' };
  if (vulkan === undefined)
    return { why: 'a Vulkan driver, but no prebuilt Vulkan libraries for this platform' };
  const libraries = suitableOf(vulkan, machine);
  if (libraries) return { flavour: 'vulkan', reason: 'a GPU and a Vulkan driver', libraries };
  const missing = missingOf(vulkan, machine);
  return { why: `a Vulkan driver, but Vulkan needs ${missing.join(', ')}`, missing };
}

function withLibraries(candidate: Candidate, pinned: Pinned, machine: Machine): Candidate {
  const libraries = suitableOf(pinned[candidate.flavour] ?? [], machine);
  return libraries ? { ...candidate, libraries } : candidate;
}

const suitableOf = (variants: readonly Libraries[], { libraries }: Machine): Libraries | undefined =>
  variants.find(({ needs }) => needs.every((name) => libraries.has(name)));

/** What the preferred libraries lack here. */
const missingOf = ([preferred]: readonly Libraries[], { libraries }: Machine): string[] =>
  preferred!.needs.filter((name) => !libraries.has(name));
