/** Arbitraries that several families draw from. Everything they make is plain data, so that it can be printed and kept. */
import fc from 'fast-check';
import type { FileSpec, Transport } from './workspace.js';

export const KiB: number = 1024;
export const MiB: number = 1024 * KiB;
/** More than the buffers between two sockets hold: whoever sends so much to a receiver that has stopped stands still. */
export const MORE_THAN_BUFFERS: Readonly<Record<Transport, number>> = { tcp: 12 * MiB, unix: 2 * MiB };

const around = (size: number): fc.Arbitrary<number> => fc.integer({ min: size - 1, max: size + 1 });

/** Sizes in bytes, mostly at the edges of what somewhere is a buffer, a window or a threshold. */
export const size: fc.Arbitrary<number> = fc.oneof(
  { weight: 2, arbitrary: fc.integer({ min: 0, max: 2 }) },
  { weight: 2, arbitrary: around(4 * KiB) },
  { weight: 3, arbitrary: around(64 * KiB) },
  { weight: 1, arbitrary: around(256 * KiB) },
  { weight: 1, arbitrary: around(MiB) },
  { weight: 4, arbitrary: fc.integer({ min: 0, max: 300_000 }) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 3 * MiB }) },
);

export const fileSpec: fc.Arbitrary<FileSpec> = fc.record({ size, sparse: fc.boolean() }, { requiredKeys: ['size'] });

/** Bytes of a write of the program's own. */
export const writeSize: fc.Arbitrary<number> = fc.oneof(
  fc.integer({ min: 0, max: 40 }),
  fc.constantFrom(16 * KiB, 64 * KiB, 100_000),
);

/** A range of a file, `end` inclusive, sometimes beyond the end. */
export function range(bytes: number): fc.Arbitrary<{ start?: number; end?: number }> {
  const near = fc.oneof(
    fc.integer({ min: 0, max: Math.max(0, bytes + 10) }),
    fc.constantFrom(0, 1, Math.max(0, bytes - 1), bytes, 4 * KiB, 64 * KiB),
  );
  return fc.tuple(fc.option(near, { nil: undefined }), fc.option(near, { nil: undefined })).map(([one, other]) => ({
    ...(one === undefined ? {} : { start: other === undefined ? one : Math.min(one, other) }),
    ...(other === undefined ? {} : { end: one === undefined ? other : Math.max(one, other) }),
  }));
}

/** Present with a chance of one in `n`. */
export const seldom = <T>(n: number, arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.option(arbitrary, { nil: undefined, freq: n - 1 }).map((value) => value);

/** Without the keys whose value is undefined: what is printed is then all there is. */
export function compact<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, one]) => one !== undefined)) as T;
}
