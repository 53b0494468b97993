import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import vm from 'node:vm';
import { transformSync } from '@swc/core';
import { ROOT } from '../../../src/config/root.js';

const CLIENT = join(ROOT, 'src/client/index.ts');

/** A realm that has only these globals: `process`, `Buffer` or a Node module only if `extra` contains it. */
export function webContext(extra: object): vm.Context {
  return vm.createContext({
    ...{ fetch, URL, TextDecoder, AbortController, AbortSignal, setTimeout, clearTimeout },
    ...extra,
  });
}

/**
 * Runs a module's code in a context and returns its exports. `lmserv/client` is the client library's source; relative
 * imports are sources too, and no other import can be resolved.
 */
export async function runModule(code: string, context: vm.Context): Promise<object> {
  const modules = new Map<string, vm.SourceTextModule>();
  const open = (path: string): vm.SourceTextModule => {
    const module = modules.get(path) ?? compile(readFileSync(path, 'utf8'), path, context);
    modules.set(path, module);
    return module;
  };
  const entry = compile(code, CLIENT, context);
  await entry.link((name, from) => open(pathOf(name, from.identifier)));
  await entry.evaluate();
  return entry.namespace;
}

function compile(code: string, identifier: string, context: vm.Context): vm.SourceTextModule {
  const options = { jsc: { target: 'es2022', parser: { syntax: 'typescript' } } } as const;
  return new vm.SourceTextModule(transformSync(code, options).code, { context, identifier });
}

function pathOf(name: string, importer: string): string {
  if (name === 'lmserv/client') return CLIENT;
  if (name.startsWith('.')) return resolve(dirname(importer), name.replace(/\.js$/, '.ts'));
  throw new Error(`${importer} imports ${name}, which a browser bundle does not contain`);
}
