/**
 * The SIGBUS trap: a handler in machine code that puts zeros in the place of mapped pages that no longer exist.
 *
 * JavaScript cannot run in a signal handler, and the process dies otherwise (kernel-rules: sigbus). The handler's code
 * is written to a memory file and mapped for reading and executing: nothing is ever writable and executable at once. It
 * finds the guarded ranges in a table next to it, which all threads, and all copies of this package in the process,
 * share.
 */
import { readdirSync } from 'node:fs';
import { check, constants, syscalls } from '@zerocopy/core-syscalls';
import { isMainThread } from '@zerocopy/core-syscalls/descriptors';
import { memoryAt, untilMoved } from '@zerocopy/core-syscalls/native';
import { feature } from './feature.js';
import { machineCode } from './machine-code.js';

const { MAP_ANONYMOUS, MAP_PRIVATE, MFD_CLOEXEC, PROT_EXEC, PROT_READ, PROT_WRITE } = constants;
const { SA_ONSTACK, SA_RESTART, SA_SIGINFO, SIGBUS } = constants;
const { SIGACTION_FLAGS_OFFSET, SIGACTION_SIZE } = syscalls;

/** 'zerocopy' as a number: marks a table of this layout. */
const MAGIC = 0x7a65726f636f7079n;
// The layout of the table, in 64-bit words; described in asm/sigbus-x64.S.
const HEADER_WORDS = 8;
const ROW_WORDS = 16;
const ROWS = 4095;
const TABLE_SIZE = (HEADER_WORDS + ROWS * ROW_WORDS) * 8;
const PREVIOUS = 1;
const PREVIOUS_FLAGS = 2;
const ROWS_IN_USE = 3;
const START = 0;
const END = 1;
const PAGE_SIZE = 2;
const PROTECTION = 3;
const TRUNCATIONS = 4;
const LAST_PAGE = 5;
/** By which thread; 0: by none. */
const CLAIMED = 6;
const FLAGS = 7;
const FILE = 8;
const OFFSET = 9;
const COPIED = 10;
const UNREADABLE = 11;
const TAIL = 1n;

interface Trap {
  /** Of the handler's code. */
  readonly address: number;
  readonly table: BigInt64Array;
}

interface Range {
  readonly address: number;
  /** Bytes, whole pages. */
  readonly length: number;
  /** Bytes of a page of the mapping. */
  readonly pageSize: number;
  readonly protection: number;
  /** The file that is mapped, so that a fault within its size is not taken for a truncation; see GuardOptions. */
  readonly file?: { readonly fd: number; readonly offset: number } | undefined;
}

/** What the handler has answered in one range. */
export interface TrapCounts {
  /** Faults beyond the end of the file, which were answered with zeros. */
  readonly truncations: number;
  /** Faults within the file, for which there was no page: each was answered with a copy of what read(2) says. */
  readonly copied: number;
  /** Of those, pages that could not be read either, and are zeros. */
  readonly unreadable: number;
}

/** One guarded range, until it is released. */
export interface TrapRow {
  /** Stays what it was when the range is released. */
  readonly counts: TrapCounts;
  /** The file is about to be closed: from now on faults are answered with zeros, each for its own page only. */
  forgetFile(): void;
  release(): void;
}

/** This copy's: its own, or the one it has found. */
let trap: Trap | undefined;

function readMemory(address: number, length: number): Buffer | undefined {
  const buffer = Buffer.allocUnsafeSlow(length);
  const remote = BigUint64Array.of(BigInt(address), BigInt(length));
  return syscalls.processVmReadv(process.pid, syscalls.createIovec(buffer), remote) === length ? buffer : undefined;
}

/** The trap whose handler is at `address`, if it is one. */
function recognise(address: number, code: Buffer): Trap | undefined {
  if (trap?.address === address) return trap;
  const found = readMemory(address, code.length);
  const body = code.length - 8;
  if (found === undefined || found.compare(code, 0, body, 0, body) !== 0) return undefined;
  const table = new BigInt64Array(memoryAt(Number(found.readBigUInt64LE(body)), TABLE_SIZE));
  return table[0] === MAGIC ? { address, table } : undefined;
}

function create(code: Buffer): Trap {
  const anonymous = MAP_PRIVATE | MAP_ANONYMOUS;
  const tableAddress = check(syscalls.mmap(null, TABLE_SIZE, PROT_READ | PROT_WRITE, anonymous, -1, 0), 'mmap');
  code.writeBigUInt64LE(BigInt(tableAddress), code.length - 8);
  try {
    const address = mapCode(code);
    const table = new BigInt64Array(memoryAt(tableAddress, TABLE_SIZE));
    table[0] = MAGIC;
    return { address, table };
  } catch (error) {
    syscalls.munmap(tableAddress, TABLE_SIZE);
    throw error;
  }
}

/** @returns the address of the handler. */
function mapCode(code: Buffer): number {
  const file = check(syscalls.memfdCreate('zerocopy-sigbus', MFD_CLOEXEC), 'memfd_create');
  try {
    // All of it: half of it must never run.
    check(
      untilMoved(code.length, (done) => syscalls.write(file, code.subarray(done), code.length - done)),
      'write',
    );
    return check(
      syscalls.mmap(null, syscalls.getpagesize(), PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0),
      'mmap(PROT_EXEC)',
    );
  } finally {
    syscalls.close(file);
  }
}

const action = Buffer.alloc(SIGACTION_SIZE);

/**
 * Installs the trap, or finds it installed: by an earlier call, another thread, or another copy of this package. A
 * handler that other code has installed meanwhile is kept, and called for faults outside of guarded ranges. Costs
 * about a microsecond if there is nothing to do; {@link guardMapping} calls it each time.
 *
 * @throws {Error} ERR_ZEROCOPY_UNAVAILABLE where there can be none; {@link SyscallError} if the system refuses.
 */
export function installSigbusTrap(): void {
  installedTrap();
}

function installedTrap(): Trap {
  const { available, reason } = feature('sigbusTrap');
  const code = machineCode(process.arch);
  if (!available || code === undefined) {
    const why = reason ?? `there is no handler for the architecture ${process.arch}`;
    throw Object.assign(new Error(`the SIGBUS trap is not available: ${why}`), { code: 'ERR_ZEROCOPY_UNAVAILABLE' });
  }
  check(syscalls.sigaction(SIGBUS, null, action), 'sigaction');
  const current = Number(action.readBigUInt64LE(0));
  const found = current > 1 ? recognise(current, code) : undefined;
  if (found !== undefined) {
    trap = found;
    followListeners();
    return found;
  }
  trap ??= create(code);
  // The handler that is there now is next in line: for faults that are not ours.
  const { table } = trap;
  Atomics.store(table, PREVIOUS, BigInt(current));
  Atomics.store(table, PREVIOUS_FLAGS, BigInt(action.readInt32LE(SIGACTION_FLAGS_OFFSET)));
  const ours = Buffer.alloc(SIGACTION_SIZE);
  ours.writeBigUInt64LE(BigInt(trap.address), 0);
  ours.writeInt32LE(SA_SIGINFO | SA_ONSTACK | SA_RESTART, SIGACTION_FLAGS_OFFSET);
  check(syscalls.sigaction(SIGBUS, ours, action), 'sigaction');
  followListeners();
  // Another thread may have installed its own in between.
  Atomics.store(table, PREVIOUS, action.readBigInt64LE(0));
  return trap;
}

let follows = false;

/**
 * `process.on('SIGBUS')` makes libuv install its own handler, and taking the last listener off the default one: a fault
 * then comes again for ever, or ends the process (kernel-rules: sigbus-listener). So the trap is put over it right after
 * each of the two; Node's own listeners of these events, which do that, were there first. Only the main thread's process
 * hears of signals.
 */
function followListeners(): void {
  if (follows || !isMainThread()) return;
  follows = true;
  const reinstall = (event: unknown): void => {
    if (event === 'SIGBUS') installedTrap();
  };
  process.on('newListener', reinstall);
  process.on('removeListener', reinstall);
}

/** A free row, this thread's from now on; -1: there is none. */
function claimRow(table: BigInt64Array): number {
  const owner = BigInt(syscalls.gettid());
  for (let row = 0; row < ROWS; row++) {
    if (Atomics.compareExchange(table, HEADER_WORDS + row * ROW_WORDS + CLAIMED, 0n, owner) === 0n) return row;
  }
  return -1;
}

/** Frees the rows of threads that have been terminated: what they guarded is not looked at any more. */
function reclaimRows(table: BigInt64Array): boolean {
  const threads = new Set(readdirSync('/proc/self/task').map(BigInt));
  let freed = false;
  for (let row = 0; row < ROWS; row++) {
    const at = HEADER_WORDS + row * ROW_WORDS;
    const owner = Atomics.load(table, at + CLAIMED);
    if (owner === 0n || threads.has(owner)) continue;
    Atomics.store(table, at + END, 0n);
    freed = Atomics.compareExchange(table, at + CLAIMED, owner, 0n) === owner || freed;
  }
  return freed;
}

/**
 * Faults in `range` are answered from now on. Beyond the end of the file: with zeros, from the fault's page to the range's
 * end at once, since a file is cut at its end, and one fault for each page would reach the limit on mappings
 * (vm.max_map_count). Within the file, where a full filesystem or a bad disk has no page
 * (kernel-rules: sigbus-not-truncation): with a copy of that one page.
 */
export function trapRange({ address, length, pageSize, protection, file }: Range): TrapRow {
  const { table } = installedTrap();
  let row = claimRow(table);
  if (row < 0 && reclaimRows(table)) row = claimRow(table);
  if (row < 0) {
    throw Object.assign(new Error(`there are ${ROWS} guarded mappings already`), {
      code: 'ERR_ZEROCOPY_TOO_MANY_GUARDS',
    });
  }
  const at = HEADER_WORDS + row * ROW_WORDS;
  table[at + START] = BigInt(address);
  table[at + PAGE_SIZE] = BigInt(pageSize);
  table[at + PROTECTION] = BigInt(protection);
  table[at + LAST_PAGE] = 0n;
  table[at + FLAGS] = TAIL;
  table[at + FILE] = BigInt(file?.fd ?? -1);
  table[at + OFFSET] = BigInt(file?.offset ?? 0);
  for (const counter of [TRUNCATIONS, COPIED, UNREADABLE]) Atomics.store(table, at + counter, 0n);
  for (;;) {
    const used = Atomics.load(table, ROWS_IN_USE);
    if (used > row || Atomics.compareExchange(table, ROWS_IN_USE, used, BigInt(row + 1)) === used) break;
  }
  // Last: a row without an end is none.
  Atomics.store(table, at + END, BigInt(address + length));
  const count = (word: number): number => Number(Atomics.load(table, at + word));
  const counts = (): TrapCounts => ({
    truncations: count(TRUNCATIONS),
    copied: count(COPIED),
    unreadable: count(UNREADABLE),
  });
  let last: TrapCounts | undefined;
  return {
    get counts() {
      return last ?? counts();
    },
    forgetFile() {
      if (last !== undefined) return;
      Atomics.store(table, at + FLAGS, 0n);
      Atomics.store(table, at + FILE, -1n);
    },
    release() {
      if (last !== undefined) return;
      Atomics.store(table, at + END, 0n);
      last = counts();
      Atomics.store(table, at + CLAIMED, 0n);
    },
  };
}
