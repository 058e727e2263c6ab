/** What this package finds available: nothing, where ZEROCOPY_DISABLE names it. */
import { type Feature, type FeatureName, featuresOf } from '@zerocopy/core-syscalls';

export const feature: (name: FeatureName) => Feature = featuresOf('splice-pipe');
