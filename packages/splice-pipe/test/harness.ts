/** The shared harness, and what is this package's own of it. */
import type { Socket } from 'node:net';
import { feature } from '@zerocopy/core-syscalls';
import { testsWhere } from '@zerocopy/testing/kernel-tests';
import { fixturesBeside } from '@zerocopy/testing/programs';
import {
  type Kind,
  type Listening,
  listen as listenOn,
  type Pair,
  withPair as withPairOf,
} from '@zerocopy/testing/sockets';

export { KiB, MiB, pattern, sha256 } from '@zerocopy/testing/bytes';
export { temporaryDirectory } from '@zerocopy/testing/files';
export { openDescriptors } from '@zerocopy/testing/holdings';
export { Peer } from '@zerocopy/testing/peer';
export { collect, gather, type Kind, type Pair } from '@zerocopy/testing/sockets';
export { pause, until } from '@zerocopy/testing/waiting';

/** For tests of the kernel path; the serial ones look at what the whole process holds. */
export const { test: kernelTest, serial: kernelSerial } = testsWhere('the kernel path', feature('splice'));
const tee = feature('tee');
export const { test: teeTest } = testsWhere('tee by the kernel', feature('splice'), tee);
/** What tee tells where it copies for the reason given: that the kernel has no tee comes before that. */
export const teeFallback = (reason: string): string => tee.reason ?? reason;

export const fixture: (name: string) => string = fixturesBeside(import.meta.url);

/** A listening server of either kind, and how to reach it. */
export const listen = (kind: Kind, _directory: string, onConnection: (socket: Socket) => void): Promise<Listening> =>
  listenOn(kind, onConnection);

/** Uses a connected pair of sockets, and destroys them. */
export const withPair = <T>(kind: Kind, _directory: string, use: (pair: Pair) => Promise<T>): Promise<T> =>
  withPairOf(kind, use);
