/** Errors for people, in the shape and wording of Node's own system errors. */
import { constants as os } from 'node:os';
import { getSystemErrorMap } from 'node:util';

/** What a failed call was about; all of it ends up in the message as Node writes it. */
export interface ErrorContext {
  /** The path the call was made for. */
  readonly path?: string | undefined;
  /** The destination path, of calls with two. */
  readonly dest?: string | undefined;
}

let namesByErrno: Map<number, string> | undefined;

/** The symbolic name of an errno (positive or negative), for instance 'EAGAIN'; 'UNKNOWN' if the system has none. */
export function errnoName(errno: number): string {
  namesByErrno ??= new Map(Object.entries(os.errno).map(([name, value]) => [value, name]));
  const number = Math.abs(errno);
  return getSystemErrorMap().get(-number)?.[0] ?? namesByErrno.get(number) ?? 'UNKNOWN';
}

function describe(errno: number): string {
  return getSystemErrorMap().get(errno)?.[1] ?? `system error ${-errno}`;
}

/** A failed system call, in the shape of Node's own system errors. */
export class SyscallError extends Error {
  /** The symbolic name of the errno, for instance 'ENOENT'; 'UNKNOWN' if it has none. */
  readonly code: string;
  /** The negative errno, as in Node's own errors. */
  readonly errno: number;
  /** The name of the call, for instance 'sendfile'. */
  readonly syscall: string;
  // Own properties only where they apply, as in Node.
  /** The path that the call was made for; absent where there is none. */
  declare readonly path?: string;
  /** The destination path of a call with two; absent where there is none. */
  declare readonly dest?: string;

  /**
   * @param errno positive or negative.
   * @param syscall the name of the call, for the message.
   */
  constructor(errno: number, syscall: string, context: ErrorContext = {}) {
    const negative = -Math.abs(errno);
    const code = errnoName(negative);
    const path = context.path === undefined ? '' : ` '${context.path}'`;
    const dest = context.dest === undefined ? '' : ` -> '${context.dest}'`;
    super(`${code}: ${describe(negative)}, ${syscall}${path}${dest}`);
    this.code = code;
    this.errno = negative;
    this.syscall = syscall;
    if (context.path !== undefined) this.path = context.path;
    if (context.dest !== undefined) this.dest = context.dest;
  }

  // Node's system errors print as "Error: ENOENT: …"; keep to that, on the prototype and not as an own property.
  static {
    Object.defineProperty(SyscallError.prototype, 'name', { value: 'Error', configurable: true, writable: true });
  }
}

/**
 * Turns the result of a raw call into a count or an exception.
 * @param result what the call returned: a count, or a negative errno.
 * @param syscall the name of the call, for the message.
 * @returns `result`.
 * @throws {SyscallError} if `result` is negative.
 */
export function check(result: number, syscall: string, context?: ErrorContext): number {
  if (result < 0) throw new SyscallError(result, syscall, context);
  return result;
}
