/** The arguments of openDirect, checked as in every other package. */
import { constants } from '@zerocopy/core-syscalls';
import { pathText, readOptions, validateChoice, validateCount, validatePath } from '@zerocopy/transfer';

const { O_APPEND, O_CREAT, O_DIRECT, O_DSYNC, O_EXCL, O_RDONLY, O_RDWR, O_SYNC, O_TRUNC, O_WRONLY } = constants;

/** When what has been written is made durable: a direct write alone may lie in the cache of the disk. */
export type Datasync = 'none' | 'end' | 'each';

/** The options of {@link openDirect}. */
export interface OpenDirectOptions {
  /** The mode of a file that is created, as of fs.open. Default 0o666. */
  mode?: number;
  /** How many requests may be under way at once: 1 to 1024. More wait, in their order. Default 32. */
  queueDepth?: number;
  /**
   * 'none' (the default): nothing is made durable. 'end': `close` does, by fdatasync(2). 'each': every write resolves when
   * it is on the disk (O_DSYNC).
   */
  datasync?: Datasync;
}

/** What is to be opened, and how. */
export interface OpenPlan {
  readonly path: string | Buffer;
  readonly flags: number;
  readonly mode: number;
  readonly queueDepth: number;
  readonly datasync: Datasync;
}

const READ = O_RDONLY;
const WRITE = O_TRUNC | O_CREAT | O_WRONLY;
const WRITE_AND_READ = O_TRUNC | O_CREAT | O_RDWR;
const APPEND = O_APPEND | O_CREAT | O_WRONLY;
const APPEND_AND_READ = O_APPEND | O_CREAT | O_RDWR;

/** The flags that fs.open takes as text: https://nodejs.org/api/fs.html#file-system-flags */
const FLAGS: Readonly<Record<string, number>> = {
  r: READ,
  rs: READ | O_SYNC,
  sr: READ | O_SYNC,
  'r+': O_RDWR,
  'rs+': O_RDWR | O_SYNC,
  'sr+': O_RDWR | O_SYNC,
  w: WRITE,
  wx: WRITE | O_EXCL,
  xw: WRITE | O_EXCL,
  'w+': WRITE_AND_READ,
  'wx+': WRITE_AND_READ | O_EXCL,
  'xw+': WRITE_AND_READ | O_EXCL,
  a: APPEND,
  ax: APPEND | O_EXCL,
  xa: APPEND | O_EXCL,
  as: APPEND | O_SYNC,
  sa: APPEND | O_SYNC,
  'a+': APPEND_AND_READ,
  'ax+': APPEND_AND_READ | O_EXCL,
  'xa+': APPEND_AND_READ | O_EXCL,
  'as+': APPEND_AND_READ | O_SYNC,
  'sa+': APPEND_AND_READ | O_SYNC,
};

const QUEUE_DEPTH_MAX = 1024;

function flagsOf(given: unknown): number {
  if (typeof given === 'number' && Number.isInteger(given) && given >= 0) return given & ~O_DIRECT;
  const known = typeof given === 'string' && Object.hasOwn(FLAGS, given) ? FLAGS[given] : undefined;
  if (known !== undefined) return known;
  const expected = `a whole number or one of ${Object.keys(FLAGS).join(', ')}`;
  throw Object.assign(new TypeError(`The argument 'flags' must be ${expected}. Received ${String(given)}`), {
    code: 'ERR_INVALID_ARG_VALUE',
  });
}

/** @throws {TypeError | RangeError} unless these are what openDirect takes. */
export function planOf(path: string | Buffer | URL, flags: unknown, given: OpenDirectOptions): OpenPlan {
  validatePath(path, 'path');
  const options = readOptions<OpenDirectOptions>(given, ['mode', 'queueDepth', 'datasync']);
  const { mode = 0o666, queueDepth = 32, datasync = 'none' } = options;
  validateCount(mode, 'mode', 0, 0o7777);
  validateCount(queueDepth, 'queueDepth', 1, QUEUE_DEPTH_MAX);
  validateChoice(datasync, 'datasync', ['none', 'end', 'each']);
  const dsync = datasync === 'each' ? O_DSYNC : 0;
  return {
    path: path instanceof Uint8Array ? Buffer.from(path) : pathText(path),
    flags: flagsOf(flags) | dsync,
    mode,
    queueDepth,
    datasync,
  };
}
