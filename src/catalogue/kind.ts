/** What a GGUF file holds. Pure. */

import type { ModelTask } from '../contract.js';
import type { GgufHeader } from '../install/models/gguf.js';

/** Architectures whose models turn texts into vectors and cannot write. */
const EMBEDDING =
  /^(bert|modern-bert|nomic-bert|nomic-bert-moe|neo-bert|jina-bert-v2|jina-bert-v3|eurobert|gemma-embedding|llama-embed|t5encoder)$/;

/** Architectures of models that only take part in the work of others, or for which llama.cpp has programs of their own. */
const OTHERS: Readonly<Record<string, string>> = {
  controlvector: 'a control vector',
  imatrix: 'data for quantising',
  eagle3: 'a draft model, which only speeds another up',
  dflash: 'a draft model, which only speeds another up',
  'wavtokenizer-dec': 'a decoder of speech',
  dream: 'a diffusion model, which workers cannot run',
  llada: 'a diffusion model, which workers cannot run',
  'llada-moe': 'a diffusion model, which workers cannot run',
  rnd1: 'a diffusion model, which workers cannot run',
};

/** Whether a file gives eyes or ears to a model beside it. */
export function isProjector({ fields }: GgufHeader): boolean {
  return fields.get('general.architecture') === 'clip' || fields.get('general.type') === 'mmproj';
}

/** Why a file cannot be served as a model; undefined if it can. @param split it is the first part of several. */
export function unfitness({ fields, tensors }: GgufHeader, split: boolean): string | undefined {
  const architecture = fields.get('general.architecture');
  const type = fields.get('general.type');
  if (type === 'adapter') return 'an adapter; name it as lora of a model in the configuration file';
  if (typeof architecture !== 'string') return 'not a model: it names no architecture';
  if (type === 'imatrix') return OTHERS.imatrix;
  const other = OTHERS[architecture];
  if (other !== undefined) return other;
  // The first part of a split model may hold no tensors.
  return tensors === 0 && !split ? 'only a vocabulary' : undefined;
}

/** llama.cpp's number for models that rate a document. */
const POOLING_RANK = 4;

/** What a model is for. */
export function taskOf({ fields }: Pick<GgufHeader, 'fields'>): ModelTask {
  const architecture = String(fields.get('general.architecture'));
  const own = (field: string) => fields.get(`${architecture}.${field}`);
  const pooling = Number(own('pooling_type') ?? 0);
  if (pooling === POOLING_RANK) return 'rerank';
  const embeds = EMBEDDING.test(architecture) || pooling > 0 || own('attention.causal') === false;
  return embeds ? 'embed' : 'chat';
}
