/** Paths as bytes: a name need not be UTF-8. And errors in the words of `cp`. */
import { getSystemErrorMap } from 'node:util';

export type Path = Buffer;

const SLASH = 0x2f;

export function join(directory: Path, name: Path): Path {
  const between = directory.length > 0 && directory[directory.length - 1] === SLASH ? [] : [Buffer.of(SLASH)];
  return Buffer.concat([directory, ...between, name]);
}

function withoutSlashes(path: Path): Path {
  let end = path.length;
  while (end > 1 && path[end - 1] === SLASH) end--;
  return path.subarray(0, end);
}

/** The last name of a path. */
export function baseOf(path: Path): Path {
  const whole = withoutSlashes(path);
  return whole.length === 1 ? whole : whole.subarray(whole.lastIndexOf(SLASH) + 1);
}

/** What a path lies in. */
export function directoryOf(path: Path): Path {
  const whole = withoutSlashes(path);
  const at = whole.lastIndexOf(SLASH);
  return at < 0 ? Buffer.from('.') : at === 0 ? whole.subarray(0, 1) : whole.subarray(0, at);
}

/** For people. */
export const quoted = (path: Path): string => `'${path.toString()}'`;

/** Why one file was not copied; the others are. */
export class CopyError extends Error {}

/** 'cannot stat 'x': no such file or directory'. */
export function because(what: string, error: unknown): CopyError {
  const { errno, message } = error as NodeJS.ErrnoException;
  const words = typeof errno === 'number' ? getSystemErrorMap().get(errno)?.[1] : undefined;
  return new CopyError(`${what}: ${words ?? message}`, { cause: error });
}

/** Waits for `promise`; what it rejects with is told as `what`. */
export async function orElse<Value>(promise: Promise<Value>, what: string): Promise<Value> {
  try {
    return await promise;
  } catch (error) {
    throw error instanceof CopyError ? error : because(what, error);
  }
}
