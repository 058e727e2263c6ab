/** The probe: what this process, on this kernel, in this container, as this user, can really do. */
import { arch, platform, release } from 'node:os';
import { libcStatus } from '../libc.js';
import { getpagesize } from '../syscalls/memory.js';
import { disabledOrWarn } from './disable.js';
import { type Feature, type FeatureName, featureNames, type PackageName } from './feature-names.js';
import { readKernelNumber } from './kernel-file.js';
import { type KnownProblem, knownProblems } from './known-bad-kernels.js';
import { type NetworkInterface, probeInterfaces } from './network-interfaces.js';
import { tryFeature } from './try-features.js';

/** Limits of this system; undefined where the kernel does not tell. */
export interface SystemLimits {
  /** Bytes a process without CAP_SYS_RESOURCE may ask for by F_SETPIPE_SZ. */
  readonly pipeMaxSize: number | undefined;
  /** Pages of pipes a user may have before new ones shrink to two pages. 0: no limit. */
  readonly pipeUserPagesSoft: number | undefined;
  /** Pages of pipes a user may have at all. 0: no limit. */
  readonly pipeUserPagesHard: number | undefined;
  /** How long the kernel waits before it breaks a lease by force, in milliseconds. */
  readonly leaseBreakTimeMs: number | undefined;
  /** Mappings a process may have. */
  readonly maxMapCount: number | undefined;
}

/** What {@link probe} answers. */
export interface CapabilityReport {
  /** As process.platform. */
  readonly platform: string;
  /** As process.arch. */
  readonly arch: string;
  /** The kernel's release, as uname -r. */
  readonly kernel: string;
  /** In bytes. */
  readonly pageSize: number;
  /** Each feature, tried. */
  readonly features: Readonly<Record<FeatureName, Feature>>;
  /** The network cards; empty where no call can be made. */
  readonly interfaces: readonly NetworkInterface[];
  /** Limits of this system. */
  readonly limits: SystemLimits;
  /** Known faults of this kernel; empty if there are none. */
  readonly knownProblems: readonly KnownProblem[];
  /** The packages that ZEROCOPY_DISABLE turns off, by name: to them no feature is available. */
  readonly disabledPackages: readonly PackageName[];
  /** What is wrong with ZEROCOPY_DISABLE, if anything is. */
  readonly configurationError?: string;
}

/** What commonly makes a call fail that is there; appended to the reason. */
const HINTS: Readonly<Record<string, string>> = {
  ENOSYS: 'this kernel does not have the call, or a sandbox hides it',
  EPERM: 'a sandbox (seccomp) or a missing privilege refuses it',
  EACCES: 'this user may not',
  EINVAL: 'this kernel or filesystem does not support it',
  EOPNOTSUPP: 'the filesystem or protocol does not support it',
  ENOENT: 'the kernel module is not there',
};

function reasonOf(error: unknown): string {
  const { message, code } = error as NodeJS.ErrnoException;
  const hint = code === undefined ? undefined : HINTS[code];
  return hint === undefined ? message : `${message} (${hint})`;
}

const cache = new Map<FeatureName, Feature>();

function examine(name: FeatureName): Feature {
  if (!featureNames.includes(name)) {
    return { available: false, reason: `there is no feature '${name}', but ${featureNames.join(', ')}` };
  }
  if (disabledOrWarn().names.has(name)) return { available: false, reason: 'disabled by ZEROCOPY_DISABLE' };
  const libc = libcStatus();
  if (!libc.available) return { available: false, reason: libc.reason };
  try {
    const detail = tryFeature(name);
    return detail === undefined ? { available: true } : { available: true, detail };
  } catch (error) {
    return { available: false, reason: reasonOf(error) };
  }
}

/** One feature, tried on its first use in this thread and then remembered. Never throws. */
export function feature(name: FeatureName): Feature {
  let known = cache.get(name);
  if (known === undefined) {
    known = examine(name);
    cache.set(name, known);
  }
  return known;
}

/**
 * {@link feature} for one package: where ZEROCOPY_DISABLE names it, nothing is available to it, and to the others all is
 * as it was.
 */
export function featuresOf(packageName: PackageName): (name: FeatureName) => Feature {
  return (name) => {
    if (!disabledOrWarn().packages.has(packageName)) return feature(name);
    const one = feature(name); // turned off, or missing, for all: then that is the reason
    return one.available ? { available: false, reason: `${packageName} is disabled by ZEROCOPY_DISABLE` } : one;
  };
}

let limits: SystemLimits | undefined;

/** The limits alone, read once. */
export function systemLimits(): SystemLimits {
  limits ??= readLimits();
  return limits;
}

function readLimits(): SystemLimits {
  const leaseBreakTime = readKernelNumber('/proc/sys/fs/lease-break-time');
  return {
    pipeMaxSize: readKernelNumber('/proc/sys/fs/pipe-max-size'),
    pipeUserPagesSoft: readKernelNumber('/proc/sys/fs/pipe-user-pages-soft'),
    pipeUserPagesHard: readKernelNumber('/proc/sys/fs/pipe-user-pages-hard'),
    leaseBreakTimeMs: leaseBreakTime === undefined ? undefined : leaseBreakTime * 1000,
    maxMapCount: readKernelNumber('/proc/sys/vm/max_map_count'),
  };
}

let report: CapabilityReport | undefined;

/**
 * Everything at once: each feature tried on throw-away descriptors, network cards, limits, known problems.
 * Made on the first call and remembered. Never throws, on any platform; leaves nothing behind.
 */
export function probe(): CapabilityReport {
  if (report !== undefined) return report;
  const { packages, problem } = disabledOrWarn();
  const onLinux = libcStatus().available;
  const features = Object.fromEntries(featureNames.map((name) => [name, feature(name)]));
  report = {
    platform: platform(),
    arch: arch(),
    kernel: release(),
    pageSize: getpagesize(),
    features: features as Record<FeatureName, Feature>,
    interfaces: onLinux ? probeInterfaces() : [],
    limits: systemLimits(),
    knownProblems: onLinux ? knownProblems(release()) : [],
    disabledPackages: [...packages],
    ...(problem === undefined ? {} : { configurationError: problem }),
  };
  return report;
}
