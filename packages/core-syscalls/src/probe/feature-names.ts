/** Everything the probe can be asked about, and the names that ZEROCOPY_DISABLE takes. */
export const featureNames = [
  'sendfile',
  'splice',
  'tee',
  'vmsplice',
  'copyFileRange',
  'mmap',
  'lease',
  'sigbusTrap',
  'openat2',
  'openat2Cached',
  'preadvNowait',
  'cachestat',
  'statxDirectIo',
  'directIo',
  'memfdSeals',
  'ioUring',
  'msgZerocopy',
  'kernelTls',
] as const;

export type FeatureName = (typeof featureNames)[number];

export interface Feature {
  readonly available: boolean;
  /** Why not, in words; present if `available` is false. */
  readonly reason?: string;
  /** What else was learnt while trying. */
  readonly detail?: Readonly<Record<string, unknown>>;
}
