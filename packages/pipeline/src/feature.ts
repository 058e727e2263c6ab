/** What this package finds available: nothing, where ZEROCOPY_DISABLE names it. */
import { type Feature, type FeatureName, featuresOf } from '@zerocopy/core-syscalls';

export const feature: (name: FeatureName) => Feature = featuresOf('pipeline');

let isAvailable: boolean | undefined;

/** Whether the kernel can move anything for this package: otherwise all is left to Node. Found out once. */
export function canMove(): boolean {
  isAvailable ??= feature('sendfile').available || feature('splice').available;
  return isAvailable;
}
