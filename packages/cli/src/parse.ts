/** A command line, read by node:util's parseArgs, with errors that say what to write instead. */
import { type ParseArgsConfig, parseArgs } from 'node:util';
import { Call, type CommandSpec, type OptionSpec, UsageError } from './command.js';
import { COMMON } from './help.js';

/** A name that there is not. */
export class UnknownName extends UsageError {
  readonly #given: string;
  readonly #names: readonly string[];
  /** What stands before a name that is suggested. */
  readonly #dashes: string;

  /** @param kind 'option' or 'command'. @param names all that there are. */
  constructor(kind: string, given: string, names: readonly string[], dashes: string = '') {
    super(`unknown ${kind} '${given}'`);
    this.#given = given.replace(/^-+/, '');
    this.#names = names;
    this.#dashes = dashes;
  }

  /** The message, and what was probably meant. */
  async advice(): Promise<string> {
    const meant = await suggestion(this.#given, this.#names);
    return meant === undefined ? this.message : `${this.message}; did you mean '${this.#dashes}${meant}'?`;
  }
}

async function suggestion(given: string, names: readonly string[]): Promise<string | undefined> {
  const { default: leven } = await import('leven'); // which takes as long to load as all that is needed otherwise
  const near = names
    .map((name) => ({ name, distance: name.startsWith(given) ? 0 : leven(given, name) }))
    .filter(({ name, distance }) => distance <= Math.max(1, Math.floor(name.length / 3)))
    .sort((a, b) => a.distance - b.distance);
  return near[0]?.name;
}

/** @throws {UsageError} for options that there are not, values that are missing, and operands too many or too few. */
export function parseCall(spec: CommandSpec, args: readonly string[]): Call {
  const config: NonNullable<ParseArgsConfig['options']> = {};
  for (const { name, short, value } of spec.options) {
    config[name] = { type: value === undefined ? 'boolean' : 'string', ...(short && { short }) };
  }
  const { tokens } = parseArgs({
    args: withImplied(spec, args),
    options: config,
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const values = new Map<string, (string | true)[]>();
  const operands: string[] = [];
  const order: string[] = [];
  for (const token of tokens) {
    if (token.kind === 'positional') operands.push(token.value);
    if (token.kind !== 'option') continue;
    const option = spec.options.find(({ name }) => name === token.name);
    if (option === undefined) {
      const names = [...spec.options, ...COMMON].map(({ name }) => name);
      throw new UnknownName('option', token.rawName, names, '--');
    }
    const value = readValue(option, token.rawName, token.value, token.inlineValue);
    order.push(option.name);
    const before = values.get(option.name);
    if (before === undefined) values.set(option.name, [value]);
    else before.push(value);
  }
  const [least, most] = spec.count;
  if (operands.length < least) {
    throw new UsageError(
      operands.length === 0 ? `expected ${spec.operands}` : `expected ${spec.operands}: something is missing`,
    );
  }
  if (operands.length > most) throw new UsageError(`unexpected '${operands[most]}'`);
  return new Call(spec.name, args, operands, values, order);
}

function readValue(
  { name, value: label, choices }: OptionSpec,
  rawName: string,
  given: string | undefined,
  isInline: boolean | undefined,
): string | true {
  if (label === undefined) {
    if (given !== undefined) throw new UsageError(`${rawName} takes no value`);
    return true;
  }
  if (given === undefined || (!isInline && /^-./.test(given))) {
    throw new UsageError(`${rawName} takes a value: --${name}=${label}`);
  }
  if (choices !== undefined && !choices.includes(given)) {
    throw new UsageError(`${rawName}: expected ${choices.join(', ')}, got '${given}'`);
  }
  return given;
}

/** parseArgs knows no option whose value may be left out. */
function withImplied(spec: CommandSpec, args: readonly string[]): string[] {
  const implied = new Map(
    spec.options.flatMap(({ name, implied }) => (implied === undefined ? [] : [[`--${name}`, `--${name}=${implied}`]])),
  );
  const end = args.indexOf('--');
  return args.map((arg, index) => (end >= 0 && index > end ? arg : (implied.get(arg) ?? arg)));
}
