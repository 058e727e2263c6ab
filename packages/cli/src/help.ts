/** What `--help` prints, from the description of a command. */
import { type CommandSpec, EXITS, type OptionSpec } from './command.js';
import type { Terminal } from './terminal.js';

/** '-r, --recursive', '--rate=BYTES', '--preserve[=LIST]'. */
export function optionLabel({ name, short, value, implied }: OptionSpec): string {
  const tail = value === undefined ? '' : implied === undefined ? `=${value}` : `[=${value}]`;
  return `${short ? `-${short}, ` : ''}--${name}${tail}`;
}

/** Of all commands. */
export const COMMON: readonly OptionSpec[] = [
  { name: 'help', short: 'h', text: 'print this and do nothing else' },
  { name: 'version', text: 'print the version and do nothing else' },
];

/** Two columns, the second wrapped. */
function columns(rows: readonly (readonly [string, string])[], left: number, width: number): string[] {
  return rows.flatMap(([label, text]) => {
    const lines = wrap(text, width - left - 2);
    const first = label.length < left - 1 ? [] : [`  ${label}`];
    const texts = lines.map(
      (line, index) => `  ${(first.length === 0 && index === 0 ? label : '').padEnd(left)}${line}`,
    );
    return [...first, ...texts];
  });
}

/** @param width characters of a line, at most, unless a word is longer. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

/** Of one command. */
export function commandHelp(spec: CommandSpec, terminal: Terminal): string {
  const heading = (text: string): string => terminal.paint('bold', text);
  const options = [...spec.options, ...COMMON].map((option): [string, string] => [optionLabel(option), option.text]);
  const exits = [...EXITS, ...(spec.exits ?? [])].sort(([a], [b]) => a - b);
  return [
    `${heading('usage')}: zerocopy ${spec.name} [options] ${spec.operands}`,
    '',
    ...spec.description.flatMap((paragraph) => [...wrap(paragraph, terminal.width), '']),
    heading('options'),
    ...columns(options, 26, terminal.width),
    '',
    heading('examples'),
    ...spec.examples.flatMap(([line, meaning]) => [`  ${terminal.paint('cyan', line)}`, `      ${meaning}`]),
    '',
    heading('exit status'),
    ...columns(
      exits.map(([status, meaning]): [string, string] => [String(status), meaning]),
      6,
      terminal.width,
    ),
  ].join('\n');
}

/** Of `zerocopy` itself. */
export function overview(commands: readonly CommandSpec[], terminal: Terminal): string {
  const rows = commands.map(({ name, summary }): [string, string] => [name, summary]);
  return [
    `${terminal.paint('bold', 'usage')}: zerocopy COMMAND [options]`,
    '',
    ...columns(rows, 12, terminal.width),
    '',
    ...wrap(
      "'zerocopy COMMAND --help' says more, with examples. 'zerocopy --version' prints the version.",
      terminal.width,
    ),
  ].join('\n');
}
