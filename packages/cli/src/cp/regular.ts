/** One regular file (or FIFO whose bytes are wanted): under a temporary name, whole, and then under its own. */
import { type BigIntStats, constants } from 'node:fs';
import { access, open, realpath, stat as statOf } from 'node:fs/promises';
import { copyFile } from '@zerocopy/file-copy';
import { giveAttributes, keepAttributes, type Original } from './attributes.js';
import { copyBytes, OWNER, type Watch } from './bytes.js';
import { because, CopyError, directoryOf, orElse, type Path, quoted } from './paths.js';
import type { CopySettings } from './settings.js';
import { Staging } from './staging.js';
import type { Tally } from './tally.js';

/** What copying one entry needs of the run that it belongs to. */
export interface Surroundings {
  readonly settings: CopySettings;
  readonly tally: Tally;
  readonly signal: AbortSignal;
  watch(path: Path): Watch;
  /** What is odd, and no failure. */
  warn(line: string): void;
  /** A line of --verbose. */
  verbose(line: string): void;
}

const PERMISSIONS = 0o777n;

/** @param there what has the destination's name: an lstat. */
export async function copyRegular(
  original: Original,
  destination: Path,
  there: BigIntStats | undefined,
  staging: Staging,
  run: Surroundings,
): Promise<void> {
  const { settings, tally } = run;
  const { path, stat } = original;
  if (!stat.isFile()) refusePart(path, settings);
  let target = destination;
  let replaced = there;
  if (there?.isSymbolicLink()) {
    target = await realpath(destination, { encoding: 'buffer' }).catch(() => {
      throw new CopyError(`not writing through dangling symbolic link ${quoted(destination)}`);
    });
    replaced = await statOf(target, { bigint: true });
  }
  if (replaced !== undefined) {
    if (replaced.dev === stat.dev && replaced.ino === stat.ino) {
      throw new CopyError(`${quoted(path)} and ${quoted(destination)} are the same file`);
    }
    if (!replaced.isFile()) return copyIntoSpecial(path, target, run);
    const writable = access(target, constants.W_OK);
    if (!settings.force) await orElse(writable, `cannot create regular file ${quoted(target)}`);
    // Then it is not as if it had been written into: nothing of it is kept.
    else if (
      !(await writable.then(
        () => true,
        () => false,
      ))
    )
      replaced = undefined;
  }
  const own = target === destination ? staging : new Staging(directoryOf(target));
  try {
    const made = await own.name();
    const mode = await create(made, Number((replaced ?? stat).mode & PERMISSIONS), replaced !== undefined);
    const moved = await copyBytes(path, made, settings, run.watch(path)).catch((error: unknown) => {
      throw because(`error copying ${quoted(path)} to ${quoted(destination)}`, error);
    });
    if (replaced !== undefined) {
      if (!settings.preserve.has('ownership')) await keepOwner(made, replaced);
      keepAttributes(target, made, settings.preserve.has('mode'));
    }
    await giveAttributes(original, made, settings, mode);
    if (settings.fsync) await sync(made);
    run.signal.throwIfAborted();
    await own.publish(made, target);
    if (settings.fsync) await sync(directoryOf(target));
    tally.add(moved);
  } finally {
    if (own !== staging) await own.remove();
  }
}

/**
 * Makes the file, for its owner only.
 *
 * @returns the mode that it is to have in the end: what the umask, or the directory's default access list, leaves of
 * `mode`; or that of the file that it replaces.
 */
async function create(path: Path, mode: number, isReplacement: boolean): Promise<number> {
  const file = await open(path, 'wx', mode);
  try {
    const own = isReplacement ? mode : Number((await file.stat()).mode & 0o7777);
    await file.chmod(OWNER); // its own may forbid to write
    return own;
  } finally {
    await file.close();
  }
}

/** A file that replaces another belongs to the same owner, if this user can do that. */
async function keepOwner(made: Path, { uid, gid }: BigIntStats): Promise<void> {
  const file = await open(made, constants.O_WRONLY | constants.O_NOFOLLOW);
  try {
    const now = await file.stat({ bigint: true });
    // To an ordinary user it is refused: the file is then that user's, as any that they make.
    if (now.uid !== uid || now.gid !== gid) await file.chown(Number(uid), Number(gid)).catch(() => {});
  } finally {
    await file.close();
  }
}

/** A part of a file, its pace and O_DIRECT are a matter of regular files. */
function refusePart(path: Path, { range, rate, direct }: CopySettings): void {
  if (range === undefined && rate === undefined && !direct) return;
  throw new CopyError(`${quoted(path)} is not a regular file: --range, --rate and --direct cannot be used`);
}

/** A FIFO or a device is written to as it stands. */
async function copyIntoSpecial(
  path: Path,
  target: Path,
  { tally, settings, signal, watch }: Surroundings,
): Promise<void> {
  refusePart(target, settings);
  signal.throwIfAborted();
  tally.add(
    await copyFile(path, target, { cache: settings.cache, ...watch(path) }).catch((error: unknown) => {
      throw because(`error copying ${quoted(path)} to ${quoted(target)}`, error);
    }),
  );
}

async function sync(path: Path): Promise<void> {
  const file = await open(path, constants.O_RDONLY);
  try {
    await orElse(file.sync(), `error syncing ${quoted(path)}`);
  } finally {
    await file.close();
  }
}
