/** `zerocopy man`: zerocopy(1), made from the table of commands. */
import { type Call, type CommandSpec, EXITS } from './command.js';
import { commands } from './commands.js';
import { COMMON, optionLabel } from './help.js';
import type { Terminal } from './terminal.js';

/** Prints the page. */
export async function run(_call: Call, terminal: Terminal): Promise<number> {
  terminal.out(manualPage());
  return 0;
}

/** Text of which nothing is a request of roff. */
const plain = (text: string): string =>
  text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('…', '...')
    .replaceAll(/^([.'])/gm, '\\&$1');

const section = (title: string): string => `.SH ${title}`;
const paragraph = (text: string): string[] => ['.PP', plain(text)];
const tagged = (tag: string, text: string): string[] => ['.TP', `\\fB${plain(tag)}\\fR`, plain(text)];

function ofCommand(spec: CommandSpec): string[] {
  return [
    `.SS zerocopy ${spec.name} [\\fIoptions\\fR] ${plain(spec.operands)}`,
    ...paragraph(`${spec.summary.charAt(0).toUpperCase()}${spec.summary.slice(1)}.`),
    ...spec.description.flatMap(paragraph),
    ...spec.options.flatMap((option) => tagged(optionLabel(option), option.text)),
    ...spec.examples.flatMap(([line, meaning]) => [
      '.PP',
      `${plain(meaning)}:`,
      '.PP',
      '.nf',
      '.RS',
      plain(line),
      '.RE',
      '.fi',
    ]),
  ];
}

/** In the language of man(7). */
export function manualPage(): string {
  const exits = commands.flatMap(({ name, exits: own = [] }) =>
    own.map(([status, meaning]): [number, string] => [status, `(${name}) ${meaning}`]),
  );
  return [
    '.TH ZEROCOPY 1',
    section('NAME'),
    plain('zerocopy - serve, proxy, copy and tee inside the Linux kernel'),
    section('SYNOPSIS'),
    '.B zerocopy',
    '\\fICOMMAND\\fR [\\fIoptions\\fR] [\\fIoperands\\fR]',
    section('COMMANDS'),
    ...commands.flatMap(ofCommand),
    section('OPTIONS OF ALL COMMANDS'),
    ...COMMON.flatMap((option) => tagged(optionLabel(option), option.text)),
    section('EXIT STATUS'),
    ...[...EXITS, ...exits].sort(([a], [b]) => a - b).flatMap(([status, meaning]) => tagged(String(status), meaning)),
    section('ENVIRONMENT'),
    ...tagged('NO_COLOR', 'no colours, also on a terminal'),
    ...tagged('ZEROCOPY_DISABLE', 'all, or names of features and packages, separated by commas: these are not used'),
    ...tagged('ZEROCOPY_DEBUG', '1: what was moved, and how, on standard error at the end'),
  ].join('\n');
}
