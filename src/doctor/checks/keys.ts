/** Keys: who may come in, and who can read the files that keys are in. None is ever shown. */
import { DEFAULT_KEY } from '../../config/load.js';
import { KeyFileError, parseKeys } from '../../accounts/keys/file.js';
import { isLoopback } from '../../wire/address.js';
import type { Facts } from '../facts.js';
import { fail, ok, warn, type Finding } from '../findings.js';
import type { PathFacts } from '../../install/models/inspect.js';

/** Characters. Shorter ones can be guessed. */
const KEY_ENOUGH = 16;
const MAKE_KEY = 'make one: openssl rand -hex 32';

/** Permission bits of everybody but the owner. */
const OTHERS = 0o077;

export function checkKey({ server }: Facts): Finding {
  const { apiKey, host, open, keysFile } = server;
  if (open && !isLoopback(host)) {
    return warn(`none is asked for, and ${host} can be reached by others`, `set API_KEY; ${MAKE_KEY}`);
  }
  if (open) return ok('none is asked for; only this machine can reach the server');
  if (apiKey === DEFAULT_KEY) {
    return warn('the default one, so only this machine can reach the server', `set API_KEY; ${MAKE_KEY}`);
  }
  if (apiKey === '' && keysFile !== undefined) return ok('those of API_KEYS_FILE');
  if (apiKey.length < KEY_ENOUGH) return warn(`shorter than ${KEY_ENOUGH} characters`, MAKE_KEY);
  return ok('one of your own');
}

export async function checkKeysFile({ probe, server }: Facts): Promise<Finding> {
  const { keysFile } = server;
  if (keysFile === undefined) return ok('none');
  const entry = await probe.stat(keysFile);
  const add = 'make it with lmserv keys add NAME, or unset API_KEYS_FILE';
  if (!entry) return fail(`there is no file ${keysFile}`, add);
  if (entry.kind !== 'file') return fail(`${keysFile} is not a regular file`, add);
  if (!entry.readable) return fail(`${keysFile} may not be read by this account`, 'change its owner');
  try {
    const { length } = parseKeys(await probe.readText(keysFile), keysFile);
    const found = `${length} ${length === 1 ? 'key' : 'keys'} in ${keysFile}`;
    return openToOthers(entry, probe.platform) ? tooOpen(found, keysFile, entry) : ok(found);
  } catch (error) {
    if (error instanceof KeyFileError) return fail(error.message, 'correct the file');
    throw error;
  }
}

export async function checkEnvFile({ probe, settings }: Facts): Promise<Finding> {
  const { envFile, envFileSecrets } = settings;
  const entry = await probe.stat(envFile);
  if (!entry) return ok('none');
  if (envFileSecrets.length === 0) return ok(`no key in ${envFile}`);
  const found = `${envFile} holds ${envFileSecrets.join(', ')}`;
  return openToOthers(entry, probe.platform) ? tooOpen(found, envFile, entry) : ok(found);
}

const openToOthers = ({ mode }: PathFacts, platform: NodeJS.Platform): boolean =>
  platform !== 'win32' && (mode & OTHERS) !== 0;

function tooOpen(found: string, path: string, { mode }: PathFacts): Finding {
  return warn(`${found}, and other accounts may get at it (mode 0${mode.toString(8)})`, `chmod 600 ${path}`);
}
