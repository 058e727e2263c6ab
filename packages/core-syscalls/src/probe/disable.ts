/** ZEROCOPY_DISABLE: features and packages turned off by the operator of the process. Read once. */
import { type FeatureName, featureNames, type PackageName, packageNames } from './feature-names.js';

/** An unknown name in ZEROCOPY_DISABLE. */
export class DisableError extends RangeError {
  /** Always 'ERR_ZEROCOPY_DISABLE'. */
  readonly code = 'ERR_ZEROCOPY_DISABLE';
}

interface Parsed {
  readonly names: ReadonlySet<FeatureName>;
  readonly packages: ReadonlySet<PackageName>;
  readonly error: DisableError | undefined;
}

let parsed: Parsed | undefined;

const isFeatureName = (name: string): name is FeatureName => (featureNames as readonly string[]).includes(name);
const isPackageName = (name: string): name is PackageName => (packageNames as readonly string[]).includes(name);

function parse(value: string): Parsed {
  const words = value
    .split(',')
    .map((word) => word.trim().replace(/^@zerocopy\//, ''))
    .filter((word) => word !== '');
  if (words.includes('all')) return { names: new Set(featureNames), packages: new Set(packageNames), error: undefined };
  const unknown = words.filter((word) => !isFeatureName(word) && !isPackageName(word));
  const error =
    unknown.length === 0
      ? undefined
      : new DisableError(
          `ZEROCOPY_DISABLE takes 'all' or a comma-separated list of ${[...featureNames, ...packageNames].join(', ')}; got '${unknown.join("', '")}'`,
        );
  return { names: new Set(words.filter(isFeatureName)), packages: new Set(words.filter(isPackageName)), error };
}

function current(): Parsed {
  parsed ??= parse(process.env.ZEROCOPY_DISABLE ?? '');
  return parsed;
}

/**
 * The features that ZEROCOPY_DISABLE turns off.
 * @throws {DisableError} code ERR_ZEROCOPY_DISABLE, if the variable holds an unknown name.
 */
export function disabledFeatures(): ReadonlySet<FeatureName> {
  const { names, error } = current();
  if (error !== undefined) throw error;
  return names;
}

let warned = false;

/** {@link disabledFeatures} for callers that must not throw: an unknown name is warned of, once, and left out. */
export function disabledOrWarn(): {
  readonly names: ReadonlySet<FeatureName>;
  readonly packages: ReadonlySet<PackageName>;
  readonly problem: string | undefined;
} {
  const { names, packages, error } = current();
  if (error !== undefined && !warned) {
    warned = true;
    process.emitWarning(error.message, { code: error.code });
  }
  return { names, packages, problem: error?.message };
}
