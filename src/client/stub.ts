/** Provider `stub`: says at once, without any network, that no model was asked. */

import type { Call, Piece, Provider, Target } from './types.js';

/** The stub's whole answer, the same to every prompt. */
export const STUB_ANSWER = '[stub] No language model was asked; this text stands in for its answer.';

export const stub: Provider = { complete, stream };

async function complete(_target: Target, call: Call): Promise<Piece> {
  call.signal?.throwIfAborted();
  return { text: STUB_ANSWER, finishReason: 'stop' };
}

/** Word by word, so that whoever tries out a stream sees one. */
async function* stream(_target: Target, call: Call): AsyncGenerator<Piece> {
  for (const text of STUB_ANSWER.split(/(?<= )/)) {
    call.signal?.throwIfAborted();
    yield { text };
  }
}
