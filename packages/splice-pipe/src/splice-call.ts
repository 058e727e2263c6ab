/** The flags of every splice(2), and how much goes through one call, or around it. */
import { constants } from '@zerocopy/core-syscalls';

const KiB = 1024;
const { SPLICE_F_MOVE, SPLICE_F_NONBLOCK } = constants;

export const SPLICE_FLAGS: number = SPLICE_F_MOVE | SPLICE_F_NONBLOCK;
/** Bytes that go through the destination's stream when it is full: enough to be the wake-up, little to copy. */
export const CARRY_SIZE: number = 4 * KiB;
/** Bytes of a file that are read or written in one call on another thread. */
export const FILE_PIECE: number = 1024 * KiB;
