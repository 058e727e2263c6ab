/** What this package finds available: nothing, where ZEROCOPY_DISABLE names it; no guard, where it names lease-guard. */
import { type Feature, type FeatureName, featuresOf } from '@zerocopy/core-syscalls';

const own = featuresOf('mmap-buffer');
const ofGuards = featuresOf('lease-guard');

export function feature(name: FeatureName): Feature {
  const found = own(name);
  return found.available && (name === 'lease' || name === 'sigbusTrap') ? ofGuards(name) : found;
}
