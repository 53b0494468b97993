/** `lmserv.config.json`: models, remote servers, groups, prices and budgets. */
export { diffConfig, type ConfigDiff, type SectionDiff } from './diff.js';
export {
  ConfigFileError,
  loadConfigFile,
  parseConfigFile,
  readConfigFile,
  readConfigFileSync,
} from './load.js';
export { remoteOptions } from './remote-options.js';
export type { ConfigFile, GroupSettings, ModelSettings, RemoteSettings } from './schema.js';
