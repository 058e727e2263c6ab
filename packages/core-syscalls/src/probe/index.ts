export { DisableError, disabledFeatures } from './disable.js';
export { type Feature, type FeatureName, featureNames, type PackageName, packageNames } from './feature-names.js';
export { formatReport } from './format-report.js';
export { type KnownProblem, knownProblems } from './known-bad-kernels.js';
export type { NetworkInterface } from './network-interfaces.js';
export { type DirectIo, type PathReport, probePath } from './probe-path.js';
export { type CapabilityReport, feature, featuresOf, probe, type SystemLimits } from './report.js';
