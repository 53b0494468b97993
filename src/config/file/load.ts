/** Reading the configuration file: text in, checked settings with absolute paths out. */

import { existsSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import type { z } from 'zod';
import { compact } from '../../compact.js';
import { JsonError, parseJson } from '../../files/json.js';
import { readText, readTextSync, type TextFile } from '../../files/read-text.js';
import { isOnHub } from '../model-path.js';
import { checkNames, type Issue } from './check.js';
import { fileSchema, type ConfigFile, type ModelSettings } from './schema.js';
import { UserError } from '../../errors.js';

/** The file is invalid. The message has a line for each problem and never quotes a value that may be a credential. */
export class ConfigFileError extends UserError {
  readonly issues: readonly Issue[];
  constructor(file: string, ...issues: readonly Issue[]) {
    super(issues.map((issue) => `${basename(file)}: ${describeIssue(issue)}`).join('\n'));
    this.issues = issues;
  }
}

/** Formats as `models.gemma.workers: must be …`, without a path for problems of the whole file. */
export function describeIssue({ path, message }: Issue): string {
  return path.length === 0 ? message : `${path.join('.')}: ${message}`;
}

/** Checks the text of `file`, whose name errors contain; its paths are relative to its folder. @throws ConfigFileError. */
export function parseConfigFile(text: string, file: string): ConfigFile {
  const json = readJson(text, file);
  const result = fileSchema.safeParse(json);
  if (!result.success)
    throw new ConfigFileError(file, ...result.error.issues.flatMap((issue) => explain(issue, json)));
  const folder = dirname(resolve(file));
  const issues = [...checkNames(result.data), ...missingFiles(result.data, folder)];
  if (issues.length > 0) throw new ConfigFileError(file, ...issues);
  return resolvePaths(result.data, folder);
}

/** @throws ConfigFileError. */
export async function readConfigFile(file: string): Promise<TextFile> {
  try {
    return await readText(file);
  } catch (error) {
    throw cannotRead(file, error);
  }
}

/** As `readConfigFile`, for startup. */
export function readConfigFileSync(file: string): TextFile {
  try {
    return readTextSync(file);
  } catch (error) {
    throw cannotRead(file, error);
  }
}

function cannotRead(file: string, error: unknown): ConfigFileError {
  const { code } = error as NodeJS.ErrnoException;
  return new ConfigFileError(file, { path: [], message: `cannot be read (${code})` });
}

function readJson(text: string, file: string): unknown {
  try {
    return parseJson(text);
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    throw new ConfigFileError(file, { path: [], message: error.message });
  }
}

function explain(issue: z.core.$ZodIssue, json: unknown): Issue[] {
  const { path } = issue;
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => ({
        path: [...path, key],
        message: `unknown field${FIELD_HINTS[key] ?? ''}`,
      }));
    case 'invalid_union': {
      // The branch that matched furthest describes the problem best.
      const deepest = issue.errors.find((branch) =>
        branch.some((inner) => inner.path.length > 0 || 'keys' in inner),
      );
      const inner = (deepest ?? []).map((found) => ({ ...found, path: [...path, ...found.path] }));
      return inner.length > 0
        ? inner.flatMap((found) => explain(found, json))
        : [{ path, message: issue.message }];
    }
    case 'invalid_key':
      return [{ path, message: `not a valid name: ${issue.issues[0]!.message}` }];
    default:
      return [{ path, message: valueAt(json, path) === undefined ? 'is required' : issue.message }];
  }
}

const FIELD_HINTS: Readonly<Record<string, string>> = {
  apiKey: '; name the variable that holds the key in apiKeyEnv',
};

function valueAt(json: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((value, key) => (value as Record<PropertyKey, unknown>)[key], json);
}

function missingFiles({ models }: ConfigFile, folder: string): Issue[] {
  return Object.entries(models).flatMap(([name, model]) => {
    const files: [field: string, file: string | undefined][] = [
      ['path', model.path],
      ['binPath', model.binPath],
      ...model.lora.map(({ path }, index): [string, string] => [`lora.${index}.path`, path]),
    ];
    return files.flatMap(([field, file]) => {
      if (file === undefined || isOnHub(file) || existsSync(resolve(folder, file))) return [];
      return [{ path: ['models', name, field], message: `there is no file ${file}` }];
    });
  });
}

function resolvePaths(file: ConfigFile, folder: string): ConfigFile {
  const models = Object.entries(file.models).map(([name, model]): [string, ModelSettings] => {
    const path = isOnHub(model.path) ? model.path : resolve(folder, model.path);
    const binPath = model.binPath && resolve(folder, model.binPath);
    const lora = model.lora.map((adapter) => ({ ...adapter, path: resolve(folder, adapter.path) }));
    return [name, compact({ ...model, path, binPath, lora })];
  });
  return { ...file, models: Object.fromEntries(models) };
}
