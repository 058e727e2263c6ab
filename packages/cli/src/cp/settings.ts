/** The options of `cp`, read once. */
import type { Reflink } from '@zerocopy/file-copy';
import { type Call, UsageError } from '../command.js';
import { parseRate, parseSize } from '../units.js';

/** What can be kept of a file besides its bytes. */
export const ATTRIBUTES = ['mode', 'ownership', 'timestamps', 'links', 'xattr'] as const;
export type Attribute = (typeof ATTRIBUTES)[number];

/** Which symbolic links are followed: all, those of the command line, none. */
export type Follow = 'all' | 'named' | 'none';

/** Bytes of a source. */
export interface Range {
  readonly start: number;
  /** Infinity: to its end. */
  readonly length: number;
}

export interface CopySettings {
  readonly recursive: boolean;
  readonly follow: Follow;
  readonly preserve: ReadonlySet<Attribute>;
  /** Extended attributes that cannot be kept are no error. */
  readonly lenientXattr: boolean;
  readonly reflink: Reflink;
  readonly sparse: 'auto' | 'always' | 'never';
  readonly range: Range | undefined;
  readonly rate: number | undefined;
  /** What becomes of the pages that the copy brings into the page cache. */
  readonly cache: 'keep' | 'drop';
  /** Past the page cache (O_DIRECT). */
  readonly direct: boolean;
  readonly fsync: boolean;
  readonly force: boolean;
  readonly noClobber: boolean;
  readonly verbose: boolean;
}

/** @throws {UsageError} */
export function settingsOf(call: Call): CopySettings {
  const archive = call.has('archive');
  const recursive = archive || call.has('recursive') || call.has('recurse');
  const preserve = new Set<Attribute>();
  const lists = [
    ...(archive ? ['all'] : []),
    ...(call.has('preserve-usual') ? ['mode,ownership,timestamps'] : []),
    ...(call.has('no-dereference-links') ? ['links'] : []),
    ...call.all('preserve'),
  ].flatMap((list) => list.split(','));
  for (const name of lists) {
    if (name === 'all') for (const attribute of ATTRIBUTES) preserve.add(attribute);
    else if (isAttribute(name)) preserve.add(name);
    else throw new UsageError(`--preserve: expected ${ATTRIBUTES.join(', ')} or all, got '${name}'`);
  }
  const sparse = (call.value('sparse') ?? 'auto') as CopySettings['sparse'];
  const reflink = (call.value('reflink') ?? 'auto') as Reflink;
  const range = call.read('range', parseRange, 'START-END, START- or START+LENGTH');
  const rate = call.read('rate', parseRate, 'bytes per second above 0, such as 10M');
  const cache = (call.value('cache') ?? 'keep') as CopySettings['cache'];
  const direct = call.has('direct');
  refuseTogether(call, [
    [reflink === 'always', '--reflink=always', ['range', 'rate', 'direct']],
    [reflink === 'always' && sparse !== 'auto', '--reflink=always', ['sparse']],
    [direct, '--direct', ['cache']],
    [cache === 'drop', '--cache=drop', ['range', 'rate']],
    // Which looks for zeros in what has been written, and so reads all of it through the page cache.
    [sparse === 'always', '--sparse=always', [...(cache === 'drop' ? ['cache'] : []), 'direct']],
  ]);
  if (range !== undefined && recursive) throw new UsageError('--range cannot be used with --recursive');
  return {
    recursive,
    follow: followOf(call, recursive),
    preserve,
    lenientXattr: !call.all('preserve').some((list) => list.split(',').includes('xattr')),
    reflink: sparse === 'never' ? 'never' : reflink,
    sparse,
    range,
    rate,
    cache,
    direct,
    fsync: call.has('fsync'),
    force: call.has('force'),
    noClobber: call.has('no-clobber'),
    verbose: call.has('verbose'),
  };
}

/** @throws {UsageError} for an option that was given beside one that leaves it no meaning. */
function refuseTogether(call: Call, pairs: readonly (readonly [boolean, string, readonly string[]])[]): void {
  for (const [applies, first, others] of pairs) {
    const other = applies ? others.find((name) => call.has(name)) : undefined;
    if (other === undefined) continue;
    const value = call.value(other);
    const isChoice = value !== undefined && ['sparse', 'cache'].includes(other);
    throw new UsageError(`${first} cannot be used with --${other}${isChoice ? `=${value}` : ''}`);
  }
}

/** Whichever was given last holds; -a and -d bring -P with them. */
function followOf(call: Call, recursive: boolean): Follow {
  const last = call.last(['archive', 'no-dereference-links', 'no-dereference', 'dereference', 'dereference-named']);
  if (last === undefined) return recursive ? 'none' : 'all';
  return last === 'dereference' ? 'all' : last === 'dereference-named' ? 'named' : 'none';
}

const isAttribute = (name: string): name is Attribute => (ATTRIBUTES as readonly string[]).includes(name);

/** '0-1023' (the last byte inclusive), '1M-', '1M+64K'. */
export function parseRange(text: string): Range | undefined {
  const [, first = '', sign, second = ''] = /^([^-+]+)([-+])([^-+]*)$/.exec(text) ?? [];
  const start = parseSize(first);
  const other = second === '' ? undefined : parseSize(second);
  if (start === undefined || (second !== '' && other === undefined)) return undefined;
  if (sign === '+') return other === undefined ? undefined : { start, length: other };
  if (other === undefined) return { start, length: Number.POSITIVE_INFINITY };
  return other < start ? undefined : { start, length: other - start + 1 };
}
