import { parseConfigFile } from '../../../../src/config/file/load.js';
import type { ConfigFile } from '../../../../src/config/file/schema.js';

/** Parses a configuration whose models need no file. */
export const parse = (content: unknown): ConfigFile =>
  parseConfigFile(JSON.stringify(content), '/etc/lmserv.config.json');

export const local = (more: object = {}) => ({ path: 'hf:org/repo', ...more });
export const remote = (more: object = {}) => ({ baseUrl: 'http://box:8000', model: 'm', ...more });
