/**
 * Kernels and modules known to corrupt what splice and sendfile move: named, not blocked (kernel-rules: bad-kernels).
 */
import { readKernelFile } from './kernel-file.js';

/** A fault of this kernel, or of one of its modules, that may corrupt what is moved. */
export interface KnownProblem {
  /** Stable: a CVE's number, or a name. */
  readonly id: string;
  /** In words: what may happen, and where it is mended. */
  readonly description: string;
}

type Version = readonly [major: number, minor: number, patch: number];

function parseVersion(text: string): Version | undefined {
  const match = /^(\d+)\.(\d+)(?:\.(\d+))?/.exec(text);
  return match === null ? undefined : [Number(match[1]), Number(match[2]), Number(match[3] ?? 0)];
}

function before(a: Version, b: Version): boolean {
  for (const [index, part] of a.entries()) {
    const other = b[index] as number;
    if (part !== other) return part < other;
  }
  return false;
}

/** Introduced in 5.8; fixed in 5.10.102, 5.15.25 and 5.16.11. */
function hasDirtyPipe(kernel: Version): boolean {
  if (before(kernel, [5, 8, 0])) return false;
  const fixes: Readonly<Record<string, Version>> = { '5.10': [5, 10, 102], '5.15': [5, 15, 25] };
  const fix = fixes[`${kernel[0]}.${kernel[1]}`] ?? [5, 16, 11];
  return before(kernel, fix);
}

/**
 * The known faults of a kernel.
 * @param kernel its release, as os.release() says it.
 * @param zfs the version of the loaded ZFS module, if there is one.
 */
export function knownProblems(
  kernel: string,
  zfs: string | undefined = readKernelFile('/sys/module/zfs/version'),
): KnownProblem[] {
  const problems: KnownProblem[] = [];
  const version = parseVersion(kernel);
  if (version !== undefined && hasDirtyPipe(version)) {
    problems.push({
      id: 'CVE-2022-0847',
      description: `Linux ${kernel} may overwrite files through spliced pipes (Dirty Pipe), unless the vendor has backported the fix; fixed in 5.10.102, 5.15.25 and 5.16.11`,
    });
  }
  const zfsVersion = zfs === undefined ? undefined : parseVersion(zfs);
  if (zfsVersion !== undefined && !before(zfsVersion, [2, 1, 0]) && before(zfsVersion, [2, 3, 0])) {
    if (version !== undefined && !before(version, [6, 4, 0]) && before(version, [6, 6, 0])) {
      problems.push({
        id: 'zfs-splice',
        description: `OpenZFS ${zfs} on Linux ${kernel} may splice wrong bytes; keep files to be sent on another filesystem`,
      });
    }
  }
  return problems;
}
