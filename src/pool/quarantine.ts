import { createHash } from 'node:crypto';
import type { JsonObject } from '../contract.js';

/** How long content is refused, milliseconds. */
const QUARANTINE_MS = 10 * 60_000;

/** Crashes that are looked back on. */
const MEMORY = 256;

/** Contents refused at a time; where still another one crashes workers, it is the machine that is broken. */
const MOST_REFUSED = 2;

/** With more crashes than this over other contents it is the machine that is broken, and no content is to blame. */
const OTHER_CRASHES = 1;

/** What of a body reaches the model or its grammar; sampling settings make no other content of it. */
const CONTENT = ['messages', 'prompt', 'tools', 'response_format', 'grammar'] as const;

interface Crash {
  readonly at: number;
  /** Fingerprints of the requests the worker had in hand. */
  readonly suspects: ReadonlySet<string>;
}

/**
 * Finds content that kills workers: two crashes with it alone in common, once with nothing beside it. Only a worker that ended by itself counts;
 * one that hung or was killed from outside says nothing about its requests. Pure: the clock is handed in, milliseconds.
 * Content is known by its SHA-256 only.
 */
export class Quarantine {
  #crashes: Crash[] = [];
  /** Fingerprint → when it is let through again. */
  readonly #refused = new Map<string, number>();

  /** A worker crashed while it had these requests; returns the number of contents refused from now on. */
  crashed(bodies: Iterable<JsonObject>, now: number): number {
    const suspects = new Set([...bodies].map(fingerprint));
    this.#forget(now);
    let found = 0;
    for (const earlier of this.#crashes) {
      const [suspect, ...others] = [...suspects].filter((content) => earlier.suspects.has(content));
      if (suspect === undefined || others.length > 0 || this.#refused.has(suspect)) continue;
      // A long reply may be there whenever its neighbours crash the worker: once it must have been alone.
      if (suspects.size > 1 && earlier.suspects.size > 1) continue;
      if (this.#crashesWithout(suspect) > OTHER_CRASHES) continue;
      if (this.#refused.size === MOST_REFUSED) {
        this.#refused.clear();
        break;
      }
      this.#refused.set(suspect, now + QUARANTINE_MS);
      found += 1;
    }
    if (suspects.size > 0) this.#crashes = [...this.#crashes, { at: now, suspects }].slice(-MEMORY);
    return found;
  }

  /** Whether content is refused. Costs nothing while none is. */
  holds(body: JsonObject, now: number): boolean {
    if (this.#refused.size === 0) return false;
    this.#forget(now);
    return this.#refused.has(fingerprint(body));
  }

  /** Crashes that neither this content nor any that is refused explains. */
  #crashesWithout(suspect: string): number {
    const explains = (content: string) => content === suspect || this.#refused.has(content);
    return this.#crashes.filter(({ suspects }) => ![...suspects].some(explains)).length;
  }

  #forget(now: number): void {
    this.#crashes = this.#crashes.filter(({ at }) => now - at < QUARANTINE_MS);
    for (const [content, until] of this.#refused) if (until <= now) this.#refused.delete(content);
  }
}

function fingerprint(body: JsonObject): string {
  const content = CONTENT.map((field) => body[field] ?? null);
  return createHash('sha256').update(JSON.stringify(content)).digest('base64');
}
