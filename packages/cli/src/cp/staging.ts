/**
 * Where a file is made before it gets its name: a directory of its own beside the destination, which nobody else may enter
 * (0700). So the file is on the destination's filesystem, inherits what files there inherit, and may have any mode, set-user-id
 * as well, before it has its owner.
 */
import { rmSync } from 'node:fs';
import { mkdtemp, rename, rm } from 'node:fs/promises';
import { join, orElse, type Path, quoted } from './paths.js';

/** Those that are there now. */
const present = new Set<Path>();

/** For a program that ends at once, as by a second signal: nothing is left then, either. */
function removeAll(): void {
  for (const path of present) rmSync(path, { recursive: true, force: true });
}

export class Staging {
  readonly #directory: Path;
  #made: Path | undefined;
  #count = 0;

  constructor(directory: Path) {
    this.#directory = directory;
  }

  /** A name that is not taken. The directory is made with the first. */
  async name(): Promise<Path> {
    if (this.#made === undefined) {
      const prefix = join(this.#directory, Buffer.from('.zerocopy-'));
      this.#made = await orElse(
        mkdtemp(prefix as unknown as string, { encoding: 'buffer' }), // which takes a Buffer, whatever its types say
        `cannot create a temporary directory in ${quoted(this.#directory)}`,
      );
      if (present.size === 0) process.on('exit', removeAll);
      present.add(this.#made);
    }
    return join(this.#made, Buffer.from(String(this.#count++)));
  }

  /** Gives what was made its own name, in the place of what has it. */
  async publish(made: Path, name: Path): Promise<void> {
    await orElse(rename(made, name), `cannot create ${quoted(name)}`);
  }

  /** Removes the directory, with whatever did not get its name. Idempotent. */
  async remove(): Promise<void> {
    const made = this.#made;
    this.#made = undefined;
    if (made === undefined) return;
    await rm(made, { recursive: true, force: true });
    present.delete(made);
    if (present.size === 0) process.off('exit', removeAll);
  }
}
