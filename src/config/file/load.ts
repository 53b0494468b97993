/** Reading the configuration file: text in, checked settings with absolute paths out. */

import { existsSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import type { z } from 'zod';
import { readText, readTextSync, type TextFile } from '../../files/read-text.js';
import { checkNames, type Issue } from './check.js';
import { fileSchema, type ConfigFile, type ModelSettings } from './schema.js';
import { UserError } from '../../errors.js';

/** The file is wrong. The message is one line naming the field; it never quotes a value that may be a credential. */
export class ConfigFileError extends UserError {
  constructor(
    readonly file: string,
    /** The field, as `models.gemma.workers`; empty for the file as a whole. */
    readonly path: string,
    readonly reason: string,
  ) {
    super(`${basename(file)}: ${path === '' ? '' : `${path}: `}${reason}`);
  }
}

/** @throws ConfigFileError when it cannot be read, is no JSON, or holds what it may not. */
export function loadConfigFile(file: string): ConfigFile {
  return parseConfigFile(readConfigFileSync(file).text, file);
}

/** The same for a text; `file` names it in errors, and paths in it are relative to its folder. @throws ConfigFileError. */
export function parseConfigFile(text: string, file: string): ConfigFile {
  const json = parseJson(text, file);
  const result = fileSchema.safeParse(json);
  const issue = result.success ? checkNames(result.data) : describe(result.error.issues[0]!, json);
  if (issue) throw new ConfigFileError(file, issue.path.map(String).join('.'), issue.message);
  return withPaths(result.data!, file);
}

/** @throws ConfigFileError. */
export async function readConfigFile(file: string): Promise<TextFile> {
  try {
    return await readText(file);
  } catch (error) {
    throw cannotRead(file, error);
  }
}

/** As `readConfigFile`, at the start. */
export function readConfigFileSync(file: string): TextFile {
  try {
    return readTextSync(file);
  } catch (error) {
    throw cannotRead(file, error);
  }
}

function cannotRead(file: string, error: unknown): ConfigFileError {
  return new ConfigFileError(file, '', `cannot be read (${String((error as NodeJS.ErrnoException).code)})`);
}

function parseJson(text: string, file: string): unknown {
  try {
    // Some editors begin a file with a byte order mark.
    return JSON.parse(text.replace(/^\uFEFF/, ''));
  } catch (error) {
    throw new ConfigFileError(file, '', `is not valid JSON${place(text, error as SyntaxError)}`);
  }
}

/** Line and column, where the parser told its position; its own words quote the file. */
function place(text: string, error: SyntaxError): string {
  const position = / at position (\d+)/.exec(error.message)?.[1];
  if (position === undefined) return /end of JSON/.test(error.message) ? ': it ends too early' : '';
  const before = text.slice(0, Number(position)).split('\n');
  return ` (line ${before.length}, column ${before.at(-1)!.length + 1})`;
}

function describe(issue: z.core.$ZodIssue, json: unknown): Issue {
  const { path } = issue;
  switch (issue.code) {
    case 'unrecognized_keys': {
      const [key] = issue.keys;
      const hint = key === 'apiKey' ? '; name the variable that holds the key in apiKeyEnv' : '';
      return { path: [...path, key!], message: `is no field this file may have${hint}` };
    }
    case 'invalid_key':
      return { path, message: `as a name, it ${issue.issues[0]!.message}` };
    default:
      return { path, message: valueAt(json, path) === undefined ? 'is required' : issue.message };
  }
}

function valueAt(json: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((value, key) => (value as Record<PropertyKey, unknown>)[key], json);
}

function withPaths(file: ConfigFile, source: string): ConfigFile {
  const folder = dirname(resolve(source));
  const models = Object.entries(file.models).map(
    ([name, model]) =>
      [name, located(model, folder, (field) => notThere(source, name, field, model))] as const,
  );
  return { ...file, models: Object.fromEntries(models) };
}

function located(
  model: ModelSettings,
  folder: string,
  fail: (field: 'path' | 'binPath') => Error,
): ModelSettings {
  const find = (field: 'path' | 'binPath', given: string): string => {
    const path = resolve(folder, given);
    if (!existsSync(path)) throw fail(field);
    return path;
  };
  return {
    ...model,
    path: model.path.startsWith('hf:') ? model.path : find('path', model.path),
    ...(model.binPath === undefined ? {} : { binPath: find('binPath', model.binPath) }),
  };
}

function notThere(source: string, name: string, field: 'path' | 'binPath', model: ModelSettings): Error {
  return new ConfigFileError(source, `models.${name}.${field}`, `there is no file ${model[field]}`);
}
