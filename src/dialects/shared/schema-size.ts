import type { Json, JsonObject } from '../../contract.js';
import { grammarParts, isSmallGrammar } from './grammar-size.js';
import { isObject } from '../../wire/json-shape.js';

/**
 * Limits on the size of a JSON schema. A worker converts it to a grammar before the first token, which cannot be
 * cancelled and stalls its other slots. The figures are from llama.cpp 0.5.0 on one thread; real schemas stay far below.
 */
interface Limits {
  /** Max objects and lists. */
  readonly parts: number;
  /** Max strings, numbers and other plain values, most of them in `enum`. */
  readonly values: number;
}

const ONE_SCHEMA: Limits = { parts: 300, values: 2_000 };

/** For the parameters of all tools of a request, which become one grammar. */
const ALL_TOOLS: Limits = { parts: 2_000, values: 8_000 };

/** Max characters of all strings and names. */
const MAX_CHARACTERS = 131_072;

/** Max characters of a property's name or a reference; a worker recurses once per character. */
const MAX_NAME = 256;

/** A worker expands each length and number of items up to this number. */
const MAX_REPEATED = 2_000;

/** Max sum of these in one request, including the parts of its patterns. */
const MAX_ALL_REPEATED = 100_000;

/** Max alternatives in a pattern with repeated groups. */
const MAX_REPEATED_ALTERNATIVES = 30;

/** Max optional or repeated parts of a pattern; 250 in a row cost a worker 0.2 s per token. */
const MAX_LOOSE = 100;

/** Max sum of the cubes of each object's number of optional properties, which is what they cost a worker. */
const MAX_CUBES = 300 ** 3;

/** Max parts after a worker has expanded `allOf`, `$ref` and lists of types, which can double at each level. */
const MAX_EXPANDED = 5_000;

/** Max nesting of schemas, including references; LMServ and the worker both recurse. */
const MAX_DEPTH = 400;

const TOO_MANY_PARTS = `has more than ${MAX_EXPANDED} parts after expanding its references and types`;

/** Why a schema is too large for a worker; undefined if it is not. Takes linear time, bounded by the limits. */
export function schemaProblem(schema: Json): string | undefined {
  return findProblem([schema], ONE_SCHEMA);
}

/** Why the parameters of all tools together are too large; undefined if they are not. */
export function toolsProblem(parameters: readonly Json[]): string | undefined {
  return findProblem(parameters, ALL_TOOLS);
}

function findProblem(schemas: readonly Json[], limits: Limits): string | undefined {
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

/** Adds up the size of schemas as written. */
class Size {
  #parts = 0;
  #values = 0;
  #characters = 0;
  #repeated = 0;
  readonly #limits: Limits;

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  /** @throws TooLarge. */
  add(value: Json): void {
    if (value === null || typeof value !== 'object') {
      limit((this.#values += 1), this.#limits.values, 'values');
      if (typeof value === 'string') this.#addText(value);
      return;
    }
    limit((this.#parts += 1), this.#limits.parts, 'parts');
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
    // A worker tries each token on all paths through the alternatives, which a repeated group multiplies.
    if (/\)[*+{]/.test(pattern) && pattern.split('|').length > MAX_REPEATED_ALTERNATIVES)
      throw new TooLarge(
        `has a pattern with repeated groups and more than ${MAX_REPEATED_ALTERNATIVES} alternatives`,
      );
    if (pattern.split(/[*?{]/).length > MAX_LOOSE)
      throw new TooLarge(`has a pattern with more than ${MAX_LOOSE} repetitions`);
    if (!isSmallGrammar(pattern)) throw new TooLarge('has a pattern with too many groups or repetitions');
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
 * Walks a schema like a worker that converts it to a grammar: it follows a reference once, but again below each `allOf`,
 * and visits an object once for each of its types.
 */
class Expansion {
  readonly #root: Json;
  readonly #cost: { parts: number; cubes: number };
  readonly #followed = new Set<string>();
  #depth = 0;

  constructor(root: Json, cost: { parts: number; cubes: number }) {
    this.#root = root;
    this.#cost = cost;
  }

  /** @throws TooLarge. */
  visit(node: Json | undefined): void {
    if ((this.#depth += 1) > MAX_DEPTH) throw new TooLarge(TOO_MANY_PARTS);
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

  /** Counts the alternatives at one position, across references, because a worker tracks all of them at once. */
  #countAlternatives(node: Json | undefined, path: readonly string[]): void {
    if (!isObject(node)) return;
    const { $ref: ref } = node;
    const alternatives = node.oneOf ?? node.anyOf;
    if (typeof ref === 'string') this.#countAlternatives(this.#target(ref), extendPath(path, ref));
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
    if ((this.#cost.cubes += optional ** 3) > MAX_CUBES)
      throw new TooLarge('has too many optional properties; put them in `required`');
    for (const property of Object.values(properties)) this.visit(property);
  }

  #components({ allOf }: JsonObject): void {
    if (Array.isArray(allOf)) allOf.forEach((part) => this.#component(part, []));
  }

  /** A part of an `allOf`, whose properties become those of the whole, across references. */
  #component(node: Json | undefined, path: readonly string[]): void {
    if (!isObject(node)) return;
    this.#count();
    const { $ref: ref } = node;
    if (typeof ref === 'string') return this.#component(this.#target(ref), extendPath(path, ref));
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
    if ((this.#cost.parts += 1) > MAX_EXPANDED) throw new TooLarge(TOO_MANY_PARTS);
  }

  /** Resolves a pointer such as `#/$defs/item` in the way a worker does. */
  #target(ref: string): Json | undefined {
    let node: Json | undefined = this.#root;
    for (const name of ref.split('/').slice(1))
      node =
        typeof node === 'object' && node !== null && Object.hasOwn(node, name)
          ? (node as JsonObject)[name]
          : undefined;
    return node;
  }
}

/** Adds a reference to the chain of references. @throws TooLarge when the chain leads back to itself. */
function extendPath(path: readonly string[], ref: string): readonly string[] {
  if (path.includes(ref)) throw new TooLarge('has references that lead back to themselves');
  return [...path, ref];
}
