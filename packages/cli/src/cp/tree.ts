/** What is copied, entry by entry, by GNU cp's rules. An entry that fails is told, and the others are copied. */
import type { BigIntStats } from 'node:fs';
import { chmod, link, lstat, mkdir, readdir, readlink, stat as statOf, symlink } from 'node:fs/promises';
import { check, syscalls } from '@zerocopy/core-syscalls';
import { assertPathPermitted } from '@zerocopy/transfer';
import { giveAttributes } from './attributes.js';
import { baseOf, because, CopyError, directoryOf, join, orElse, type Path, quoted } from './paths.js';
import { copyRegular, type Surroundings } from './regular.js';
import { Staging } from './staging.js';

const PERMISSIONS = 0o777n;
const OWNER_ALL = 0o700;

const identity = ({ dev, ino }: BigIntStats): string => `${dev}:${ino}`;

/** Of a file, by the name that it was given under: what is linked to it elsewhere is another source. */
const nameOf = async (path: Path, stat: BigIntStats): Promise<string> =>
  `${identity(stat)} ${identity(await statOf(directoryOf(path), { bigint: true }))} ${baseOf(path).toString('latin1')}`;

const lstatOrNone = async (path: Path): Promise<BigIntStats | undefined> => {
  try {
    return await lstat(path, { bigint: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw because(`cannot stat ${quoted(path)}`, error);
  }
};

/** A tree that is copied. */
export class Tree {
  readonly #run: Surroundings;
  readonly #complain: (error: unknown) => void;
  /** Where the first of several hard links was copied to, by the file that they are. */
  readonly #links = new Map<string, Path>();
  /** Directories that were made by this run: they are not copied into themselves. */
  readonly #made = new Set<string>();
  /** Names that this run has given on behalf of the command line, and to which files: no other source may take them. */
  readonly #named = new Map<string, string>();

  /** @param complain is told of each entry that could not be copied. */
  constructor(run: Surroundings, complain: (error: unknown) => void) {
    this.#run = run;
    this.#complain = complain;
  }

  /** One source of the command line. */
  async copy(source: Path, destination: Path): Promise<void> {
    const { settings } = this.#run;
    const staging = new Staging(directoryOf(destination));
    try {
      await this.#entry(source, destination, staging, settings.follow !== 'none', []);
    } finally {
      await staging.remove();
    }
  }

  async #entry(
    source: Path,
    destination: Path,
    staging: Staging,
    follows: boolean,
    above: readonly string[],
  ): Promise<void> {
    const { settings, tally, signal } = this.#run;
    signal.throwIfAborted();
    const look = follows ? statOf : lstat;
    const stat = await orElse(look(source, { bigint: true }), `cannot stat ${quoted(source)}`);
    const isNamed = above.length === 0;
    const text = destination.toString('latin1');
    const there = await lstatOrNone(destination);
    if (stat.isDirectory()) return this.#directory(source, stat, destination, there, above);
    if (there !== undefined && settings.noClobber) {
      tally.skipped++;
      return;
    }
    if (there?.isDirectory()) {
      throw new CopyError(`cannot overwrite directory ${quoted(destination)} with non-directory ${quoted(source)}`);
    }
    if (isNamed && this.#named.has(text)) {
      if (this.#named.get(text) === (await nameOf(source, stat))) return this.#warn(`source file ${quoted(source)}`);
      throw new CopyError(`will not overwrite just-created ${quoted(destination)} with ${quoted(source)}`);
    }
    if (!(await this.#linked(stat, destination, staging, there))) {
      const original = { path: source, stat };
      if (stat.isFile() || (stat.isFIFO() && !settings.recursive)) {
        await copyRegular(original, destination, there, staging, this.#run);
      } else await this.#special(source, stat, destination, there, staging, follows);
      if (this.#keepsLinks(stat)) this.#links.set(identity(stat), destination);
    }
    if (isNamed) this.#named.set(text, await nameOf(source, stat));
    this.#told(source, destination);
  }

  #warn(what: string): void {
    this.#run.warn(`${what} specified more than once`);
  }

  #told(source: Path, destination: Path): void {
    if (this.#run.settings.verbose) this.#run.verbose(`${quoted(source)} -> ${quoted(destination)}`);
  }

  #keepsLinks({ nlink }: BigIntStats): boolean {
    const { preserve, follow } = this.#run.settings;
    return preserve.has('links') && (nlink > 1n || follow !== 'none');
  }

  /** @returns whether the file has been copied before, under another name, and is now linked to that. */
  async #linked(
    stat: BigIntStats,
    destination: Path,
    staging: Staging,
    there: BigIntStats | undefined,
  ): Promise<boolean> {
    const first = this.#keepsLinks(stat) ? this.#links.get(identity(stat)) : undefined;
    if (first === undefined) return false;
    const made = await staging.name();
    await orElse(link(first, made), `cannot create hard link ${quoted(destination)} to ${quoted(first)}`);
    if (there !== undefined && identity(there) === identity(await lstat(made, { bigint: true }))) return true;
    await staging.publish(made, destination);
    this.#run.tally.others++;
    return true;
  }

  /** A symbolic link, a FIFO, a socket, a device: made anew, in the place of what is there only where no links are followed. */
  async #special(
    source: Path,
    stat: BigIntStats,
    destination: Path,
    there: BigIntStats | undefined,
    staging: Staging,
    follows: boolean,
  ): Promise<void> {
    const { settings, tally } = this.#run;
    if (!settings.recursive && !stat.isSymbolicLink()) throw new CopyError(`${quoted(source)} is not a regular file`);
    if (there !== undefined && identity(there) === identity(stat)) {
      throw new CopyError(`${quoted(source)} and ${quoted(destination)} are the same file`);
    }
    if (there !== undefined && follows) {
      throw new CopyError(`cannot create special file ${quoted(destination)}: file already exists`);
    }
    const made = await staging.name();
    if (stat.isSymbolicLink()) {
      const goal = await orElse(
        readlink(source, { encoding: 'buffer' }),
        `cannot read symbolic link ${quoted(source)}`,
      );
      await orElse(symlink(goal, made), `cannot create symbolic link ${quoted(destination)}`);
    } else {
      const device = stat.isBlockDevice() || stat.isCharacterDevice() ? Number(stat.rdev) : 0;
      await orElse(
        Promise.resolve().then(() => {
          assertPathPermitted(made, 'write');
          check(syscalls.mknodat(made, Number(stat.mode & ~0o7000n), device), 'mknodat');
        }),
        `cannot create special file ${quoted(destination)}`,
      );
    }
    await giveAttributes({ path: source, stat }, made, settings, undefined);
    await staging.publish(made, destination);
    tally.others++;
  }

  async #directory(
    source: Path,
    stat: BigIntStats,
    destination: Path,
    there: BigIntStats | undefined,
    above: readonly string[],
  ): Promise<void> {
    const { settings, tally } = this.#run;
    if (!settings.recursive) throw new CopyError(`--recursive not given; omitting directory ${quoted(source)}`);
    const self = identity(stat);
    if (this.#made.has(self)) {
      throw new CopyError(`cannot copy a directory, ${quoted(source)}, into itself, ${quoted(destination)}`);
    }
    if (above.includes(self)) throw new CopyError(`cannot copy cyclic symbolic link ${quoted(source)}`);
    const isNamed = above.length === 0;
    if (there !== undefined && identity(there) === self) {
      throw new CopyError(`${quoted(source)} and ${quoted(destination)} are the same file`);
    }
    const isThere =
      there?.isDirectory() || (there?.isSymbolicLink() && isNamed && (await isDirectory(destination))) || false;
    if (there !== undefined && !isThere) {
      throw new CopyError(`cannot overwrite non-directory ${quoted(destination)} with directory ${quoted(source)}`);
    }
    const text = destination.toString('latin1');
    if (isNamed && this.#named.get(text) === self) return this.#warn(`source directory ${quoted(source)}`);
    if (isNamed) this.#named.set(text, self);
    const mode = isThere ? undefined : await makeDirectory(destination, stat);
    const made = await statOf(destination, { bigint: true });
    this.#made.add(identity(made));
    if (!isThere) tally.directories++;
    this.#told(source, destination);
    const staging = new Staging(destination);
    try {
      const names = await orElse(readdir(source, { encoding: 'buffer' }), `cannot access ${quoted(source)}`);
      for (const name of names) {
        const follows = settings.follow === 'all';
        await this.#entry(join(source, name), join(destination, name), staging, follows, [...above, self]).catch(
          (error: unknown) => {
            if (this.#run.signal.aborted) throw error;
            this.#complain(error);
          },
        );
      }
    } finally {
      await staging.remove();
      // Also of a copy that is broken off: a directory must not be left more open, or less, than it is to be.
      await giveAttributes({ path: source, stat }, destination, settings, mode);
    }
  }
}

/** @returns the mode that it is to have in the end; undefined: it has it already. */
async function makeDirectory(path: Path, { mode }: BigIntStats): Promise<number | undefined> {
  await orElse(mkdir(path, Number(mode & PERMISSIONS)), `cannot create directory ${quoted(path)}`);
  const given = Number((await lstat(path, { bigint: true })).mode & 0o7777n);
  if ((given & OWNER_ALL) === OWNER_ALL) return undefined;
  await chmod(path, given | OWNER_ALL); // so that something can be put into it
  return given;
}

const isDirectory = (path: Path): Promise<boolean> =>
  statOf(path).then(
    (stat) => stat.isDirectory(),
    () => false,
  );
