import { Command } from 'commander';

/** Makes a command throw what would end the process, and print nothing. */
export const quiet = (command: Command): Command =>
  command.exitOverride().configureOutput({ writeOut: () => undefined, writeErr: () => undefined });
