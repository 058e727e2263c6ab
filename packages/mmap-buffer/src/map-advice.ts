/** The advice of madvise(2), by name. */
import { constants } from '@zerocopy/core-syscalls';

/** As in madvise(2). 'dontneed' throws away what was stored into a mapping that is not shared. */
export type MapAdvice =
  | 'normal'
  | 'random'
  | 'sequential'
  | 'willneed'
  | 'dontneed'
  | 'cold'
  | 'pageout'
  | 'hugepage'
  | 'nohugepage';

export const ADVICE: Readonly<Record<MapAdvice, number>> = {
  normal: constants.MADV_NORMAL,
  random: constants.MADV_RANDOM,
  sequential: constants.MADV_SEQUENTIAL,
  willneed: constants.MADV_WILLNEED,
  dontneed: constants.MADV_DONTNEED,
  cold: constants.MADV_COLD,
  pageout: constants.MADV_PAGEOUT,
  hugepage: constants.MADV_HUGEPAGE,
  nohugepage: constants.MADV_NOHUGEPAGE,
};
