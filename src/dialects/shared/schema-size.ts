import type { Json, JsonObject } from '../../contract.js';
import { jsonObject } from './fields.js';
import { grammarParts, isSmallGrammar } from './grammar-size.js';
import { isObject } from './validate.js';

/**
 * How large a JSON schema may be. A worker makes a grammar of it before the first token, which cannot be cancelled and
 * holds up its other slots; the figures are from llama.cpp 0.5.0 on one thread. Real forms stay far below.
 */
interface Limits {
  /** Objects and lists. */
  readonly parts: number;
  /** Texts, numbers and the like, those of `enum` above all. */
  readonly values: number;
}

const ONE_SCHEMA: Limits = { parts: 300, values: 2_000 };

/** The parameters of all tools of a request together: they become one grammar. */
const ALL_TOOLS: Limits = { parts: 2_000, values: 8_000 };

/** Characters of all texts and names. */
const MAX_CHARACTERS = 131_072;

/** Characters of a property's name or a reference: a worker reads either by recursion, a level for each. */
const MAX_NAME = 256;

/** Lengths and numbers of items, written out by a worker up to this number each. */
const MAX_REPEATED = 2_000;

/** The same of one request together, with the parts of its patterns. */
const MAX_ALL_REPEATED = 100_000;

/** Alternatives of a pattern whose groups repeat. */
const MAX_REPEATED_ALTERNATIVES = 30;

/** What may be repeated or left out in one pattern; a row of 250 takes a worker 0.2 s for each token. */
const MAX_LOOSE = 100;

/** The sum of the cubes of each object's number of optional properties: a worker's time for them. */
const MAX_CUBES = 300 ** 3;

/** Parts once a worker has written out what `allOf`, `$ref` and a list of types repeat, which can double at each level. */
const MAX_EXPANDED = 5_000;

/** Schemas within one another, references followed: both sides read them by recursion. */
const MAX_DEPTH = 400;

const TOO_MUCH = `has more than ${MAX_EXPANDED} parts once its references and types are written out`;

/** Why a worker should not get a schema; undefined when it may. Its time is linear, and bounded by the limits. */
export function schemaProblem(schema: Json): string | undefined {
  return problemOf([schema], ONE_SCHEMA);
}

/** The same of the parameters of all tools. */
export function toolsProblem(parameters: readonly Json[]): string | undefined {
  return problemOf(parameters, ALL_TOOLS);
}

/** A JSON schema that a worker can take. */
export const boundedSchema = jsonObject.superRefine((schema, context) => {
  const problem = schemaProblem(schema);
  if (problem !== undefined) context.addIssue(problem);
});

function problemOf(schemas: readonly Json[], limits: Limits): string | undefined {
  try {
    const size = new Size(limits);
    for (const schema of schemas) size.add(schema);
    const cost = { parts: 0, cubes: 0 };
    for (const schema of schemas) new Expansion(schema, cost).visit(schema);
    return undefined;
  } catch (error) {
    if (error instanceof TooLarge) return error.message;
    throw error;
  }
}

class TooLarge extends Error {}

function limit(value: number, max: number, what: string): void {
  if (value > max) throw new TooLarge(`has more than ${max} ${what}`);
}

/** Adds up what is written in schemas. */
class Size {
  #parts = 0;
  #values = 0;
  #characters = 0;
  #repeated = 0;

  constructor(private readonly limits: Limits) {}

  /** @throws TooLarge. */
  add(value: Json): void {
    if (value === null || typeof value !== 'object') {
      limit((this.#values += 1), this.limits.values, 'values');
      if (typeof value === 'string') this.#addText(value);
      return;
    }
    limit((this.#parts += 1), this.limits.parts, 'parts');
    if (Array.isArray(value)) value.forEach((item) => this.add(item));
    else this.#addObject(value);
  }

  #addObject(node: JsonObject): void {
    this.#addKeywords(node);
    for (const [name, value] of Object.entries(node)) {
      this.#addText(name);
      limit(name.length, MAX_NAME, 'characters in a name');
      this.add(value);
    }
  }

  #addText(text: string): void {
    limit((this.#characters += text.length), MAX_CHARACTERS, 'characters');
  }

  #addKeywords(node: JsonObject): void {
    if (typeof node.$ref === 'string') limit(node.$ref.length, MAX_NAME, 'characters in a $ref');
    if (typeof node.pattern === 'string') this.#addPattern(node.pattern);
    for (const keyword of ['minLength', 'maxLength', 'minItems', 'maxItems'])
      if (typeof node[keyword] === 'number') this.#addRepeated(Math.min(node[keyword], MAX_REPEATED));
  }

  #addPattern(pattern: string): void {
    // Each token is tried on all ways through the alternatives, and a repeated group multiplies them.
    if (/\)[*+{]/.test(pattern) && pattern.split('|').length > MAX_REPEATED_ALTERNATIVES)
      throw new TooLarge(
        `has a pattern with repeated groups and over ${MAX_REPEATED_ALTERNATIVES} alternatives`,
      );
    if (pattern.split(/[*?{]/).length > MAX_LOOSE)
      throw new TooLarge(`has a pattern of more than ${MAX_LOOSE} repetitions`);
    if (!isSmallGrammar(pattern)) throw new TooLarge('has a pattern of too many groups or repetitions');
    this.#addRepeated(grammarParts(pattern));
  }

  #addRepeated(count: number): void {
    limit(
      (this.#repeated += Math.max(0, count)),
      MAX_ALL_REPEATED,
      'repetitions in lengths, items and patterns',
    );
  }
}

/**
 * Follows a schema as a worker does when it makes a grammar: a reference once, but anew below each `allOf`, and an
 * object once for each of its types.
 */
class Expansion {
  readonly #followed = new Set<string>();
  #depth = 0;

  constructor(
    private readonly root: Json,
    private readonly cost: { parts: number; cubes: number },
  ) {}

  /** @throws TooLarge. */
  visit(node: Json | undefined): void {
    if ((this.#depth += 1) > MAX_DEPTH) throw new TooLarge(TOO_MUCH);
    this.#visit(node);
    this.#depth -= 1;
  }

  #visit(node: Json | undefined): void {
    if (!isObject(node)) return;
    this.#count();
    this.#countAlternatives(node, []);
    if (typeof node.$ref === 'string') return this.#followOnce(node.$ref);
    const alternatives = node.oneOf ?? node.anyOf;
    if (Array.isArray(alternatives)) return alternatives.forEach((part) => this.visit(part));
    for (const type of Array.isArray(node.type) ? node.type : [node.type]) this.#visitAs(node, type);
  }

  /** What may come next: a worker keeps all of it in mind at once, whichever references it is reached by. */
  #countAlternatives(node: Json | undefined, path: readonly string[]): void {
    if (!isObject(node)) return;
    const { $ref: ref } = node;
    const alternatives = node.oneOf ?? node.anyOf;
    if (typeof ref === 'string') this.#countAlternatives(this.#target(ref), longer(path, ref));
    else if (Array.isArray(alternatives))
      for (const part of alternatives) {
        this.#count();
        this.#countAlternatives(part, path);
      }
  }

  #visitAs(node: JsonObject, type: Json | undefined): void {
    this.#count();
    if (type === undefined || type === 'object') this.#visitObject(node);
    if (type === undefined || type === 'array') {
      for (const items of [node.items, node.prefixItems])
        if (Array.isArray(items)) items.forEach((item) => this.visit(item));
        else this.visit(items);
    }
    if (type === 'string') this.#components(node);
  }

  #visitObject(node: JsonObject): void {
    const { properties, required } = node;
    this.#visitProperties(properties, required);
    this.visit(node.additionalProperties);
    this.#components(node);
  }

  #visitProperties(properties: Json | undefined, required: Json | undefined): void {
    if (!isObject(properties)) return;
    const names = new Set(Array.isArray(required) ? required : []);
    const optional = Object.keys(properties).filter((name) => !names.has(name)).length;
    if ((this.cost.cubes += optional ** 3) > MAX_CUBES)
      throw new TooLarge('has too many optional properties; put them in `required`');
    for (const property of Object.values(properties)) this.visit(property);
  }

  #components({ allOf }: JsonObject): void {
    if (Array.isArray(allOf)) allOf.forEach((part) => this.#component(part, []));
  }

  /** A part of an `allOf`: its properties become those of the whole, whatever it refers to. */
  #component(node: Json | undefined, path: readonly string[]): void {
    if (!isObject(node)) return;
    this.#count();
    const { $ref: ref } = node;
    if (typeof ref === 'string') return this.#component(this.#target(ref), longer(path, ref));
    const alternatives = node.oneOf ?? node.anyOf;
    if (Array.isArray(alternatives)) alternatives.forEach((part) => this.#component(part, path));
    this.#visitProperties(node.properties, undefined);
  }

  #followOnce(ref: string): void {
    if (this.#followed.has(ref)) return;
    this.#followed.add(ref);
    this.visit(this.#target(ref));
  }

  #count(): void {
    if ((this.cost.parts += 1) > MAX_EXPANDED) throw new TooLarge(TOO_MUCH);
  }

  /** What a pointer such as `#/$defs/item` points at, read as a worker reads it. */
  #target(ref: string): Json | undefined {
    let found: Json | undefined = this.root;
    for (const name of ref.split('/').slice(1))
      found =
        typeof found === 'object' && found !== null && Object.hasOwn(found, name)
          ? (found as JsonObject)[name]
          : undefined;
    return found;
  }
}

/** The references that led somewhere, and one more. @throws TooLarge when nothing but references leads back to it. */
function longer(path: readonly string[], ref: string): readonly string[] {
  if (path.includes(ref)) throw new TooLarge('has references that lead back to themselves');
  return [...path, ref];
}
