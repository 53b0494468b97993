/** A reply does not have the agreed form, or is larger than any sane one; the message says which. */
export class BadReply extends Error {
  override readonly name = 'BadReply';
}

/** @throws BadReply unless a part of a reply is well-formed. */
export function check(wellFormed: boolean): asserts wellFormed {
  if (!wellFormed) throw malformed();
}

export function malformed(): BadReply {
  return new BadReply('sent something that is not part of a reply');
}

/** A name that a server sent, for a message: names of types and reasons only, because others may quote a client. */
export function shown(name: unknown): string {
  return typeof name === 'string' && /^[\w.:-]{1,64}$/.test(name) ? `"${name}"` : 'of unknown form';
}
