/**
 * Faults put in front of the system calls of this thread, at the nth of them.
 *
 * Two doors: the C functions that core-syscalls binds, through its seam for tests, and the functions of node:fs, which
 * the packages copy with. To be imported before any package of the project: what has been bound, or taken out of
 * node:fs, before is not seen.
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { constants as os } from 'node:os';
import { SyscallError } from '@zerocopy/core-syscalls';
import { wrapBindings } from '@zerocopy/core-syscalls/internals';
import koffi from 'koffi';
import { callName, countArgument, MADE_ANYWAY } from './calls.js';

const KEPT = 1000;
let armed;
/** Whether this call is to be disturbed, and how. */
function disturbance(name) {
  if (armed === undefined) return undefined;
  const { plan } = armed;
  if (plan?.only !== undefined && !plan.only.includes(name)) return undefined;
  armed.counted++;
  if (armed.calls.length < KEPT) armed.calls.push(name);
  if (plan === undefined) return undefined;
  const times = plan.fault.kind === 'errno' ? (plan.fault.times ?? 1) : 1;
  if (armed.counted < plan.at || armed.counted >= plan.at + times) return undefined;
  armed.hit ??= name;
  return plan.fault;
}
const errnoOf = (code) => {
  const number = os.errno[code];
  if (number === undefined) throw new Error(`no errno of this system is called ${code}`);
  return number;
};
function shortened(name, args) {
  const index = countArgument(name);
  return index === undefined ? args : args.with(index, Math.min(1, Number(args[index])));
}
function disturbing(native, prototype) {
  const call = (...args) => {
    const name = callName(prototype, args[0]);
    const fault = disturbance(name);
    if (fault === undefined) return native(...args);
    if (fault.kind === 'short') return native(...shortened(name, args));
    if (MADE_ANYWAY.has(name)) native(...args);
    koffi.errno(errnoOf(fault.code));
    return -1;
  };
  const async = (...args) => {
    const name = callName(prototype, args[0]);
    const fault = disturbance(name);
    if (fault === undefined) return native.async(...args);
    if (fault.kind === 'short') return native.async(...shortened(name, args));
    const callback = args.at(-1);
    setImmediate(() => {
      koffi.errno(errnoOf(fault.code));
      callback(null, -1);
    });
  };
  return Object.assign(call, { async });
}
/** Functions of node:fs that make the call of the same name: which argument is the count, if there is one. */
const NODE_CALLS = {
  read: 3,
  write: 3,
  writev: undefined,
  open: undefined,
  fstat: undefined,
  ftruncate: undefined,
  fchmod: undefined,
};
/** As Node's binding answers: by a callback in a later turn. */
function disturbingNode(name, native, countIndex) {
  return (...args) => {
    const callback = args.at(-1);
    if (typeof callback !== 'function') return native(...args);
    const fault = disturbance(`fs.${name}`);
    if (fault === undefined) return native(...args);
    if (fault.kind === 'errno') {
      const error = new SyscallError(errnoOf(fault.code), name);
      setImmediate(callback, error);
      return;
    }
    const hasCount = countIndex !== undefined && typeof args[countIndex] === 'number';
    native(...(hasCount ? args.with(countIndex, Math.min(1, args[countIndex])) : args));
  };
}
let installed = false;
/** Once for each thread, before the packages are imported. Disturbs nothing until {@link withFaults}. */
export function installFaults() {
  if (installed) return;
  installed = true;
  wrapBindings((native, prototype) => disturbing(native, prototype));
  const functions = fs;
  for (const [name, countIndex] of Object.entries(NODE_CALLS)) {
    const native = functions[name];
    // With what util.promisify looks for, which is not enumerable.
    const { length: _length, name: _name, ...others } = Object.getOwnPropertyDescriptors(native);
    functions[name] = Object.defineProperties(disturbingNode(name, native, countIndex), others);
  }
  syncBuiltinESMExports();
}
/** Runs `use` under a plan; without one it only counts. One at a time: the calls of others are not told apart. */
export async function withFaults(plan, use) {
  if (armed !== undefined) throw new Error('another plan is armed');
  armed = { plan, calls: [], counted: 0, hit: undefined };
  const mine = armed;
  try {
    const value = await use();
    return { value, report: mine };
  } finally {
    armed = undefined;
  }
}
//# sourceMappingURL=injection.js.map
