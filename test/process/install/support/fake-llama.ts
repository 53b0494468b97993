/** Shell scripts that answer --help and --version as llama.cpp's binaries do. */
const fake = (help: string[]) => `case "$1" in
--version) echo 'version: 0.5.0-dev (build 1, commit de3ff81)' >&2 ;;
*) ${help.map((line) => `echo '${line}'`).join('; ')} ;;
esac`;

export const LLAMA_CLI = fake([
  '----- common params -----',
  '--server-base URL                       connect to this server instead of starting a new one',
]);
export const LLAMA_SERVER = fake([
  '----- common params -----',
  '--host HOST     address',
  '--api-key KEY   key',
]);
export const OLD_LLAMA_CLI = fake([
  '----- common params -----',
  '-i, --interactive   run in interactive mode',
]);
