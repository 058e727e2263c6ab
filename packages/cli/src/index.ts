/** The command `zerocopy`, to be run from a program. */
import { UsageError } from './command.js';
import { commands } from './commands.js';
import { COMMON, commandHelp, overview } from './help.js';
import { parseCall, UnknownName } from './parse.js';
import { type Stdio, Terminal } from './terminal.js';

export { Interruption, SIGNALS, type Stdio } from './terminal.js';

/**
 * Runs a command line.
 *
 * @param args what stands behind `zerocopy`.
 * @param stdio the streams of this process, unless others are given.
 * @returns the exit status: 0; 1: failed; 2: the command line makes no sense; 3 (probe): partly; 129, 130, 143: interrupted.
 */
export async function run(args: readonly string[], stdio: Stdio = process): Promise<number> {
  const terminal = new Terminal(stdio);
  const [name = '', ...rest] = args;
  if (name === '' || name === '--help' || name === '-h' || name === 'help') {
    const asked = commands.find((command) => command.name === rest[0]);
    if (asked !== undefined) terminal.out(commandHelp(asked, terminal));
    else if (name !== '') terminal.out(overview(commands, terminal));
    else terminal.note(overview(commands, terminal));
    return name === '' ? 2 : 0;
  }
  if (name === '--version' || name === '-V') return printVersion(terminal);
  const command = commands.find((candidate) => candidate.name === name);
  const failed = (message: string, status: number): number => {
    const who = command === undefined ? 'zerocopy' : `zerocopy ${command.name}`;
    terminal.note(`${terminal.paint('red', `${who}:`, 'stderr')} ${message}`);
    if (status === 2) terminal.note(`Try '${who} --help'.`);
    return status;
  };
  if (command === undefined) {
    const names = (name.startsWith('-') ? COMMON : commands).map((candidate) => candidate.name);
    const [kind, dashes] = name.startsWith('-') ? (['option', '--'] as const) : (['command', ''] as const);
    const unknown = new UnknownName(kind, name, names, dashes);
    return failed(await unknown.advice(), 2);
  }
  const own = rest.slice(0, rest.includes('--') ? rest.indexOf('--') : rest.length);
  if (own.includes('--help') || own.includes('-h')) {
    terminal.out(commandHelp(command, terminal));
    return 0;
  }
  if (own.includes('--version')) return printVersion(terminal);
  try {
    const call = parseCall(command, rest);
    const { run: start } = await command.load();
    return await start(call, terminal);
  } catch (error) {
    if (terminal.signal.aborted) return terminal.interrupted(1);
    if (error instanceof UnknownName) return failed(await error.advice(), 2);
    return failed((error as Error).message, error instanceof UsageError ? 2 : 1);
  }
}

/** Of this package: the build puts it here (tools/ci/bundle.mjs). */
declare const PACKAGE_VERSION: string;

function printVersion(terminal: Terminal): number {
  terminal.out(PACKAGE_VERSION);
  return 0;
}
