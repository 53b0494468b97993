/** The name of a model: a repository of the hub, a URL, or a file. */
import { HUB_PREFIX, isOnHub } from '../../config/model-path.js';
import { UserError } from '../../errors.js';

/** The model is unavailable; the message says what to do. */
export class ModelError extends UserError {}

export type ModelSpec =
  /** `choice` is a quantisation (Q4_K_M) or a file's name in the repository. */
  | { kind: 'hub'; repo: string; choice: string | undefined }
  | { kind: 'url'; url: string }
  | { kind: 'path'; path: string };

const REPO = /^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*$/;

/**
 * Reads `hf:org/repo[:quant]`, `org/repo[:quant]`, `https://…` or a path.
 * @throws ModelError when `hf:` or the URL is malformed
 */
export function parseModelSpec(text: string): ModelSpec {
  if (isOnHub(text)) {
    const spec = parseHub(text.slice(HUB_PREFIX.length));
    if (spec) return spec;
    throw new ModelError(`${text} is not a model of the hub: write hf:org/repo or hf:org/repo:quant, such as hf:org/model-GGUF:Q4_K_M`);
  }
  if (/^https?:\/\//i.test(text)) {
    if (URL.canParse(text)) return { kind: 'url', url: text };
    throw new ModelError(`${text} is not a valid URL`);
  }
  return (looksLikeRepo(text) ? parseHub(text) : undefined) ?? { kind: 'path', path: text };
}

/** Splits `org/repo:quant`; undefined for anything else. */
function parseHub(text: string): ModelSpec | undefined {
  const colon = text.indexOf(':');
  const repo = colon === -1 ? text : text.slice(0, colon);
  const choice = colon === -1 ? undefined : text.slice(colon + 1);
  if (!REPO.test(repo) || repo.includes('..')) return undefined;
  if (choice !== undefined && !/^[\w.-]+$/.test(choice)) return undefined;
  return { kind: 'hub', repo, choice };
}

/** False for names of files, such as `models/a.gguf`; `./a/b` and `/a` do not match `REPO`. */
const looksLikeRepo = (text: string): boolean => !/\.gguf$/i.test(text.split(':')[0] ?? '');

/** A normalised name, which is the key in the record of downloads. */
export function specKey(spec: ModelSpec): string {
  if (spec.kind === 'hub') return `hf:${spec.repo}${spec.choice ? `:${spec.choice.toLowerCase()}` : ''}`;
  return spec.kind === 'url' ? spec.url : spec.path;
}
