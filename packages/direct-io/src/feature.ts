/** Whether this package may go past the page cache at all; what one file allows is asked of its filesystem. */
import { type Feature, type FeatureName, featuresOf, libcStatus } from '@zerocopy/core-syscalls';

/** What the probe says of a feature, unless ZEROCOPY_DISABLE turns it off for this package. */
export const feature: (name: FeatureName) => Feature = featuresOf('direct-io');

/**
 * Why no file can be opened with O_DIRECT in this process; undefined: it depends on the file. The probe tries one file,
 * whose filesystem may refuse what that of another takes, so that its refusal counts only where it is about the process.
 */
export function unavailable(): string | undefined {
  const { available, reason } = feature('directIo');
  if (available) return undefined;
  return !libcStatus().available || reason?.includes('ZEROCOPY_DISABLE') ? reason : undefined;
}
