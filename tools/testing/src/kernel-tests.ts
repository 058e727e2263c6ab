/** Tests of what not every system has: where it is missing they are skipped, and one line says why. */
import test, { type SkipFn } from 'ava';

/** A feature of core-syscalls, or the status of its libc. */
export interface Availability {
  readonly available: boolean;
  readonly reason?: string | undefined;
}

/** Declares a test, or skips it: with none of the further functions that `test` has, and `test.skip` has not. */
export interface ConditionalTests {
  /** ava's `test`, or its `test.skip`. */
  readonly test: SkipFn;
  /** ava's `test.serial`, or its `test.serial.skip`: one at a time, before all other tests of the file. */
  readonly serial: SkipFn;
}

/** @param what What the tests need, for the line that says why they are skipped. Every condition has to be met. */
export function testsWhere(what: string, ...conditions: readonly Availability[]): ConditionalTests {
  const missing = conditions.find(({ available }) => !available);
  if (missing === undefined) return { test, serial: test.serial };
  let told = false;
  /** The line comes with the first of them, and not before: ava begins with the first it hears of, and a file may still import. */
  const telling = (skip: SkipFn): SkipFn =>
    ((...declared: Parameters<SkipFn>) => {
      if (!told) test.skip(`${what}: ${missing.reason ?? 'not available here'}`, () => {});
      told = true;
      skip(...declared);
    }) as SkipFn;
  return { test: telling(test.skip), serial: telling(test.serial.skip) };
}

/** For tests of what Linux alone has, such as /proc. */
export const onLinux: SkipFn = testsWhere('what Linux alone has', {
  available: process.platform === 'linux',
  reason: `this is ${process.platform}`,
}).test;

/** `ZEROCOPY_LONG=1`: the numbers of a release, in place of those of every day. */
export const isLongRun: boolean = process.env.ZEROCOPY_LONG === '1';
