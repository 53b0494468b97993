/** `lmserv.config.json`: models, remote servers, groups, prices and budgets. */
export {
  ConfigFileError,
  loadConfigFile,
  parseConfigFile,
  readConfigFile,
  readConfigFileSync,
} from './load.js';
export { remoteOptions } from './remote-options.js';
export type { ConfigFile, GroupSettings, ModelSettings, RemoteSettings } from './schema.js';
