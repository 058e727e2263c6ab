/**
 * Faults put in front of the system calls of this thread, at the nth of them.
 *
 * Three doors: the C functions that core-syscalls binds, through its seam for tests; the functions of node:fs that call
 * back, which the packages copy with; and, where a plan asks for them, those calls of node:fs that a package makes
 * itself. To be imported before any package of the project: what has been bound, or taken out of node:fs, before is not
 * seen.
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { constants as os } from 'node:os';
import { type NativeFunction, wrapBindings } from '@zerocopy/core-syscalls/native';
import koffi from 'koffi';
import { calledByFileStream, calledByPackage } from './caller.js';
import { callName, countArgument, MADE_ANYWAY } from './calls.js';

export type Fault =
  /** The call is not made, and answers this; with `times`, so do as many of the next calls of the same name. */
  | { readonly kind: 'errno'; readonly code: string; readonly times?: number }
  /** The call is made with a count of 1. One that has no count is made as it is. */
  | { readonly kind: 'short' };

export interface FaultPlan {
  /** Which call, counted from 1 since the plan was armed. */
  readonly at: number;
  readonly fault: Fault;
  /** Only calls of these names are counted; undefined: all. */
  readonly only?: readonly string[] | undefined;
  /** Told of every call that counts. */
  readonly onCall?: (() => void) | undefined;
  /** Told the name of the call that the fault meets, when it does. */
  readonly onHit?: ((name: string) => void) | undefined;
}

/** What the faults of a plan happen on. */
export interface Background {
  /** Calls that answer ENOSYS throughout, as on a kernel without them; they are not counted. */
  readonly absent?: readonly string[] | undefined;
  /** Whether the calls of node:fs count that a package makes itself: the synchronous ones, and a few more. */
  readonly direct?: boolean | undefined;
}

/** What was called while a plan was armed. */
export interface FaultReport {
  /** Names, in order, up to the limit of what is kept. */
  readonly calls: readonly string[];
  /** The name of the call that the fault met; undefined: there were not so many calls. */
  readonly hit: string | undefined;
  /** Whether one of the disturbed calls was a call of Node's own file stream. */
  readonly byNode: boolean;
}

const KEPT = 1000;

interface Armed {
  readonly plan: FaultPlan | undefined;
  readonly background: Background;
  readonly calls: string[];
  counted: number;
  hit: string | undefined;
  byNode: boolean;
  /** Calls of the name that was hit that are still to be disturbed. */
  left: number;
}

let armed: Armed | undefined;
const ABSENT: Fault = { kind: 'errno', code: 'ENOSYS' };

/** Whether this call is to be disturbed, and how. */
function disturbance(name: string): Fault | undefined {
  if (armed === undefined) return undefined;
  const { plan, background } = armed;
  if (background.absent?.includes(name)) return ABSENT;
  if (plan?.only !== undefined && !plan.only.includes(name)) return undefined;
  armed.counted++;
  plan?.onCall?.();
  if (armed.calls.length < KEPT) armed.calls.push(name);
  if (plan === undefined) return undefined;
  if (armed.counted === plan.at) {
    armed.hit = name;
    plan.onHit?.(name);
    armed.left = plan.fault.kind === 'errno' ? (plan.fault.times ?? 1) : 1;
  }
  if (armed.hit !== name || armed.left === 0) return undefined;
  armed.left--;
  return plan.fault;
}

const errnoOf = (code: string): number => {
  const number = (os.errno as Record<string, number | undefined>)[code];
  if (number === undefined) throw new Error(`no errno of this system is called ${code}`);
  return number;
};

type AnyFunction = (...args: unknown[]) => number;
type AsyncCallback = (error: Error | null, result: number) => void;

function shortened(name: string, args: unknown[]): unknown[] {
  const index = countArgument(name);
  return index === undefined ? args : args.with(index, Math.min(1, Number(args[index])));
}

function disturbing(native: AnyFunction & { async: (...args: unknown[]) => void }, prototype: string): AnyFunction {
  const call = (...args: unknown[]): number => {
    const name = callName(prototype, args[0]);
    const fault = disturbance(name);
    if (fault === undefined) return native(...args);
    if (fault.kind === 'short') return native(...shortened(name, args));
    if (MADE_ANYWAY.has(name)) native(...args);
    koffi.errno(errnoOf(fault.code));
    return -1;
  };
  const async = (...args: unknown[]): void => {
    const name = callName(prototype, args[0]);
    const fault = disturbance(name);
    if (fault === undefined) return native.async(...args);
    if (fault.kind === 'short') return native.async(...shortened(name, args));
    const callback = args.at(-1) as AsyncCallback;
    setImmediate(() => {
      koffi.errno(errnoOf(fault.code));
      callback(null, -1);
    });
  };
  return Object.assign(call, { async });
}

/** Functions of node:fs that make the call of the same name: which argument is the count, if there is one. */
const NODE_CALLS: Readonly<Record<string, number | undefined>> = {
  read: 3,
  write: 3,
  writev: undefined,
  open: undefined,
  fstat: undefined,
  ftruncate: undefined,
  fchmod: undefined,
};

/** The same, where a package calls them itself: see {@link Background.direct}. */
const DIRECT_CALLS: Readonly<Record<string, number | undefined>> = {
  openSync: undefined,
  closeSync: undefined,
  readSync: 3,
  writeSync: undefined,
  fstatSync: undefined,
  statfsSync: undefined,
  mkdtempSync: undefined,
  rmSync: undefined,
  readdirSync: undefined,
  readFileSync: undefined,
  close: undefined,
  unlink: undefined,
};

/** In the shape of Node's own, and no SyscallError: that is the packages' word for their own calls. */
const nodeError = (code: string, syscall: string): NodeJS.ErrnoException =>
  Object.assign(new Error(`${code}: made to fail, ${syscall}`), { code, errno: -errnoOf(code), syscall });

type NodeCall = (...args: unknown[]) => void;

/** libuv makes such a call again by itself, or takes it for done (close): only from a read does EINTR come through. */
const isHidden = (fault: Fault, name: string): boolean =>
  fault.kind === 'errno' && fault.code === 'EINTR' && name !== 'read';

/** As Node's binding answers: by a callback in a later turn. */
function disturbingNode(name: string, native: NodeCall, countIndex: number | undefined): NodeCall {
  return (...args) => {
    const callback = args.at(-1);
    if (typeof callback !== 'function') return native(...args);
    const fault = disturbance(`fs.${name}`);
    if (fault === undefined || isHidden(fault, name)) return native(...args);
    if (armed !== undefined && calledByFileStream()) armed.byNode = true;
    if (fault.kind === 'errno') {
      // With what Node's callbacks bring besides: fs.WriteStream goes on with the buffer it is given back.
      setImmediate(callback as NodeCall, nodeError(fault.code, name), 0, args[1]);
      return;
    }
    const hasCount = countIndex !== undefined && typeof args[countIndex] === 'number';
    native(...(hasCount ? args.with(countIndex, Math.min(1, args[countIndex] as number)) : args));
  };
}

/** Of a call that a package makes itself; synchronous, or not. */
function disturbingDirect(name: string, native: NodeCall, countIndex: number | undefined): NodeCall {
  const call = name.replace(/Sync$/, '');
  return (...args) => {
    if (armed?.background.direct !== true || !calledByPackage()) return native(...args);
    const fault = disturbance(`fs.${name}`);
    if (fault === undefined || isHidden(fault, call)) return native(...args);
    if (fault.kind === 'short') {
      const hasCount = countIndex !== undefined && typeof args[countIndex] === 'number';
      return native(...(hasCount ? args.with(countIndex, Math.min(1, args[countIndex] as number)) : args));
    }
    const error = nodeError(fault.code, call);
    const callback = args.at(-1);
    if (typeof callback === 'function') {
      if (MADE_ANYWAY.has(call)) return native(...args.with(-1, () => callback(error)));
      setImmediate(callback as NodeCall, error);
      return;
    }
    if (MADE_ANYWAY.has(call)) native(...args);
    throw error;
  };
}

/** fs.promises.open, the one function of node:fs/promises that the packages call. */
function disturbingOpen(native: typeof fs.promises.open): typeof fs.promises.open {
  return async (...args) => {
    if (armed === undefined || !calledByPackage()) return native(...args); // a way opens files of its own by it
    const fault = disturbance('fs.promises.open');
    if (fault?.kind !== 'errno' || isHidden(fault, 'open')) return native(...args);
    throw nodeError(fault.code, 'open');
  };
}

let installed = false;

/** Once for each thread, before the packages are imported. Disturbs nothing until {@link withFaults}. */
export function installFaults(): void {
  if (installed) return;
  installed = true;
  wrapBindings(
    (native, prototype) => disturbing(native as never, prototype) as unknown as NativeFunction<never> as never,
  );
  const functions = fs as unknown as Record<string, NodeCall>;
  const replace = (name: string, wrap: (native: NodeCall) => NodeCall): void => {
    const native = functions[name] as NodeCall;
    // With what util.promisify looks for, which is not enumerable.
    const { length: _length, name: _name, ...others } = Object.getOwnPropertyDescriptors(native);
    functions[name] = Object.defineProperties(wrap(native), others as PropertyDescriptorMap);
  };
  for (const [name, countIndex] of Object.entries(NODE_CALLS)) {
    replace(name, (native) => disturbingNode(name, native, countIndex));
  }
  for (const [name, countIndex] of Object.entries(DIRECT_CALLS)) {
    replace(name, (native) => disturbingDirect(name, native, countIndex));
  }
  fs.promises.open = disturbingOpen(fs.promises.open);
  syncBuiltinESMExports();
}

/** Runs `use` under a plan; without one it only counts. One at a time: the calls of others are not told apart. */
export async function withFaults<T>(
  plan: FaultPlan | undefined,
  use: () => Promise<T>,
  background: Background = {},
): Promise<{ readonly value: T; readonly report: FaultReport }> {
  if (armed !== undefined) throw new Error('another plan is armed');
  armed = { plan, background, calls: [], counted: 0, hit: undefined, byNode: false, left: 0 };
  const mine = armed;
  try {
    const value = await use();
    return { value, report: mine };
  } finally {
    armed = undefined;
  }
}
