import { createHash } from 'node:crypto';
import type { JsonObject } from '../contract.js';
import { replaceImages } from '../wire/images.js';

/** How long content is refused, milliseconds. */
const QUARANTINE_MS = 10 * 60_000;

/** Number of past crashes that are compared. */
const MAX_CRASHES = 256;

/** Max number of contents refused at a time; if yet another one crashes workers, the machine is at fault. */
const MAX_REFUSED = 2;

/** With more crashes than this caused by other contents, the machine is at fault. */
const MAX_OTHER_CRASHES = 1;

/** The fields that reach the model or its grammar; sampling settings do not change what the content is. */
const CONTENT = [
  ...(['messages', 'prompt', 'suffix', 'tools'] as const),
  ...(['response_format', 'json_schema', 'grammar'] as const),
];

interface Crash {
  readonly at: number;
  /** Fingerprints of the requests the worker was serving. */
  readonly suspects: ReadonlySet<string>;
}

/**
 * Finds content that crashes workers. Content is blamed when it is the only request common to two crashes, and was alone
 * in at least one of them. Only crashes count: a worker that hung or was killed from outside says nothing about its
 * requests. Pure: the clock is passed in, milliseconds. Only SHA-256 hashes of content are kept.
 */
export class Quarantine {
  #crashes: Crash[] = [];
  /** Fingerprint → when it is accepted again. */
  readonly #refused = new Map<string, number>();

  /** Records that a worker crashed while serving these requests; returns how many contents this newly quarantines. */
  recordCrash(bodies: Iterable<JsonObject>, now: number): number {
    const suspects = new Set([...bodies].map(fingerprint));
    this.#forget(now);
    let added = 0;
    for (const earlier of this.#crashes) {
      const [suspect, ...others] = [...suspects].filter((content) => earlier.suspects.has(content));
      if (suspect === undefined || others.length > 0 || this.#refused.has(suspect)) continue;
      // A long reply may be running each time its neighbours crash the worker: it must have been alone once.
      if (suspects.size > 1 && earlier.suspects.size > 1) continue;
      if (this.#countCrashesWithout(suspect) > MAX_OTHER_CRASHES) continue;
      if (this.#refused.size === MAX_REFUSED) {
        this.#refused.clear();
        break;
      }
      this.#refused.set(suspect, now + QUARANTINE_MS);
      added += 1;
    }
    if (suspects.size > 0) this.#crashes = [...this.#crashes, { at: now, suspects }].slice(-MAX_CRASHES);
    return added;
  }

  /** Whether content is quarantined. Free of cost while nothing is. */
  holds(body: JsonObject, now: number): boolean {
    if (this.#refused.size === 0) return false;
    this.#forget(now);
    return this.#refused.has(fingerprint(body));
  }

  /** Counts the crashes that neither this content nor quarantined content explains. */
  #countCrashesWithout(suspect: string): number {
    const explains = (content: string) => content === suspect || this.#refused.has(content);
    return this.#crashes.filter(({ suspects }) => ![...suspects].some(explains)).length;
  }

  #forget(now: number): void {
    this.#crashes = this.#crashes.filter(({ at }) => now - at < QUARANTINE_MS);
    for (const [content, until] of this.#refused) if (until <= now) this.#refused.delete(content);
  }
}

function fingerprint(body: JsonObject): string {
  const hash = createHash('sha256');
  const marked = replaceImages(body, (url) => {
    hash.update(url);
    return '';
  });
  const content = CONTENT.map((field) => marked[field] ?? null);
  return hash.update(JSON.stringify(content)).digest('base64');
}
