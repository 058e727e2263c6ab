/** The names of all features: what the probe can be asked about, and what ZEROCOPY_DISABLE takes. */
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

/** The name of one feature. */
export type FeatureName = (typeof featureNames)[number];

/** The packages that ZEROCOPY_DISABLE turns off, each alone, by these names; `@zerocopy/` before them may be said. */
export const packageNames = [
  'direct-io',
  'file-copy',
  'lease-guard',
  'mmap-buffer',
  'pipeline',
  'sendfile-stream',
  'serve-files',
  'splice-pipe',
] as const;

/** The name of one package that asks for features. */
export type PackageName = (typeof packageNames)[number];

/** Whether a feature works in this process, and why not. */
export interface Feature {
  /** Whether it works. */
  readonly available: boolean;
  /** Why not, in words; present if `available` is false. */
  readonly reason?: string;
  /** What else was learnt while trying. */
  readonly detail?: Readonly<Record<string, unknown>>;
}
