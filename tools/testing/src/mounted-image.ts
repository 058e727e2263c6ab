/** Filesystems in images, mounted for as long as a test takes: root only. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LoopDevice } from './loop-device.js';

/** Where files of one kind can be made. */
export interface Place {
  readonly name: string;
  readonly directory: string;
}

/** How an image is made and mounted. */
export interface ImageOptions {
  readonly kind: 'ext4' | 'xfs' | 'btrfs';
  /** Bytes of a sector of its loop device: 512 unless said otherwise. */
  readonly sector?: number;
  /** MiB. Default 512, which xfs and btrfs need. */
  readonly size?: number;
  /** Options of mount(8). */
  readonly mountOptions?: string;
  /** More arguments of mkfs. */
  readonly make?: readonly string[];
}

/** @returns what it printed. @throws {Error} with the first line of what it complained about. */
function run(command: string, ...args: string[]): string {
  const { status, error, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status === 0) return stdout.trim();
  throw new Error(`${command}: ${(error?.message ?? stderr).trim().split('\n')[0]}`);
}

/** An image that is mounted. */
export class MountedImage {
  readonly directory: string;
  readonly #image: string;
  #device: LoopDevice | undefined;
  #mounted = false;

  private constructor() {
    this.directory = mkdtempSync(join(tmpdir(), 'zerocopy-mount-'));
    this.#image = `${this.directory}.img`;
  }

  /** The loop device. */
  get device(): string {
    return this.#device?.path ?? '';
  }

  /** @returns the image, or why there is none, in words. */
  static mount(options: ImageOptions): MountedImage | string {
    const image = new MountedImage();
    try {
      image.#mount(options);
      process.once('exit', image.#onExit); // a test that ends with an exception runs no hooks
      return image;
    } catch (error) {
      image.unmount();
      return (error as Error).message;
    }
  }

  #mount({ kind, sector = 512, size = 512, mountOptions, make = [] }: ImageOptions): void {
    writeFileSync(this.#image, '');
    truncateSync(this.#image, size * 1024 * 1024);
    const device = LoopDevice.attach(this.#image, sector);
    if (typeof device === 'string') throw new Error(device);
    this.#device = device;
    run(`mkfs.${kind}`, '-q', ...make, device.path);
    run('mount', ...(mountOptions === undefined ? [] : ['-o', mountOptions]), device.path, this.directory);
    this.#mounted = true;
  }

  readonly #onExit = (): void => this.unmount();

  /** Leaves nothing behind. To be called once; when the process or the worker thread ends at the latest. */
  unmount(): void {
    process.off('exit', this.#onExit);
    if (this.#mounted) run('umount', this.directory);
    this.#device?.detach();
    rmSync(this.#image, { force: true });
    rmdirSync(this.directory);
  }
}
