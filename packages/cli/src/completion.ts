/** `zerocopy completion`: scripts for shells, made from the table of commands. */
import { type Call, type CommandSpec, type OptionSpec, UsageError } from './command.js';
import { commands } from './commands.js';
import { COMMON } from './help.js';
import { SHELLS } from './specs/documents.js';
import type { Terminal } from './terminal.js';

const makers: Readonly<Record<(typeof SHELLS)[number], () => string>> = { bash, zsh, fish };

/** Prints the script. */
export async function run(call: Call, terminal: Terminal): Promise<number> {
  const shell = SHELLS.find((name) => name === call.operands[0]);
  if (shell === undefined) throw new UsageError(`expected ${SHELLS.join(', ')}, got '${call.operands[0]}'`);
  terminal.out(makers[shell]());
  return 0;
}

const optionsOf = ({ options }: CommandSpec): readonly OptionSpec[] => [...options, ...COMMON];
/** In single quotes of a shell. */
const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;
const operandsOf = (spec: CommandSpec): readonly string[] => (spec.name === 'completion' ? SHELLS : []);

function bash(): string {
  const names = commands.map(({ name }) => name).join(' ');
  const cases = commands.flatMap((spec) => {
    const words = optionsOf(spec)
      .flatMap(({ name, short }) => [`--${name}`, ...(short === undefined ? [] : [`-${short}`])])
      .join(' ');
    const files = { files: '-f', directories: '-d', nothing: '' }[spec.completes];
    const values = spec.options.flatMap(({ name, choices }) =>
      choices === undefined
        ? []
        : [`      --${name}) COMPREPLY=($(compgen -W '${choices.join(' ')}' -- "$cur")); return ;;`],
    );
    const operands = operandsOf(spec);
    const words2 =
      operands.length === 0
        ? files === ''
          ? ':'
          : `COMPREPLY=($(compgen ${files} -- "$cur"))`
        : `COMPREPLY=($(compgen -W '${operands.join(' ')}' -- "$cur"))`;
    return [
      `    ${spec.name})`,
      ...(values.length === 0 ? [] : ['      case "$prev" in', ...values, '      esac']),
      `      if [[ "$cur" == -* ]]; then COMPREPLY=($(compgen -W '${words}' -- "$cur"))`,
      `      else ${words2}; fi ;;`,
    ];
  });
  return [
    '# zerocopy, for bash: source <(zerocopy completion bash)',
    '_zerocopy() {',
    // A colon or an equals sign parts words for bash: 'prev' is then the sign itself.
    `  local cur="\${COMP_WORDS[COMP_CWORD]}" prev="\${COMP_WORDS[COMP_CWORD-1]}"`,
    '  [[ "$cur" == "=" ]] && cur=""',
    `  [[ "$prev" == "=" ]] && prev="\${COMP_WORDS[COMP_CWORD-2]}"`,
    '  COMPREPLY=()',
    '  if (( COMP_CWORD == 1 )); then',
    `    COMPREPLY=($(compgen -W '${names} --help --version' -- "$cur"))`,
    '    return',
    '  fi',
    `  case "\${COMP_WORDS[1]}" in`,
    ...cases,
    '  esac',
    '}',
    'complete -o filenames -F _zerocopy zerocopy',
  ].join('\n');
}

function zsh(): string {
  const described = (text: string): string => text.replaceAll(/[[\]:\\]/g, '\\$&');
  const actions = { files: '_files', directories: '_files -/', nothing: '' } as const;
  const functions = commands.flatMap((spec) => {
    const args = optionsOf(spec).map(({ name, short, value, implied, choices, multiple, text }) => {
      const action = choices === undefined ? '_files' : `(${choices.join(' ')})`;
      const tail = value === undefined ? '' : `${implied === undefined ? '' : ':'}:${value}:${action}`;
      const long = `--${name}${value === undefined ? '' : implied === undefined ? '=' : '=-'}`;
      const label = `[${described(text)}]${tail.replace(/^::/, '::')}`;
      const star = multiple ? '*' : '';
      const both = short === undefined ? [] : [quoted(`${star}-${short}${value === undefined ? '' : '+'}${label}`)];
      return [quoted(`${star}${long}${label}`), ...both].join(' ');
    });
    const operands = operandsOf(spec);
    const action = operands.length === 0 ? actions[spec.completes] : `(${operands.join(' ')})`;
    return [
      `    (${spec.name}) _arguments ${[...args, ...(action === '' ? [] : [quoted(`*:operand:${action}`)])].join(' ')} ;;`,
    ];
  });
  const names = commands.map(({ name, summary }) => quoted(`${name}:${described(summary)}`)).join(' ');
  return [
    '#compdef zerocopy',
    '_zerocopy() {',
    '  local -a commands',
    `  commands=(${names})`,
    '  if (( CURRENT == 2 )); then _describe command commands; return; fi',
    '  local command=$words[2]',
    '  shift words; (( CURRENT-- ))',
    '  case $command in',
    ...functions,
    '  esac',
    '}',
    // As a file in fpath it is called by its name, sourced it is not.
    'if [[ $funcstack[1] == _zerocopy ]]; then _zerocopy "$@"; else compdef _zerocopy zerocopy; fi',
  ].join('\n');
}

function fish(): string {
  const lines = commands.flatMap((spec) => {
    const seen = `__fish_seen_subcommand_from ${spec.name}`;
    const files = spec.completes === 'nothing' ? ' -f' : '';
    const operands = operandsOf(spec);
    return [
      `complete -c zerocopy -n __fish_use_subcommand -f -a ${spec.name} -d ${quoted(spec.summary)}`,
      ...(files === '' ? [] : [`complete -c zerocopy -n ${quoted(seen)} -f`]),
      ...(operands.length === 0 ? [] : [`complete -c zerocopy -n ${quoted(seen)} -a ${quoted(operands.join(' '))}`]),
      ...optionsOf(spec).map(({ name, short, value, implied, choices, text }) => {
        const takes = value === undefined || implied !== undefined ? '' : choices === undefined ? ' -r' : ' -x';
        const all = choices === undefined ? '' : ` -a ${quoted(choices.join(' '))}`;
        return `complete -c zerocopy -n ${quoted(seen)}${short ? ` -s ${short}` : ''} -l ${name}${takes}${all} -d ${quoted(text)}`;
      }),
    ];
  });
  return ['# zerocopy, for fish', ...lines].join('\n');
}
