/** A file as a block device, for as long as a test takes: root only. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

/** A loop device. */
export class LoopDevice {
  /** Its name in /dev. */
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /**
   * @param file what it shows. @param sector bytes of a sector.
   * @returns the device, or why there is none, in words.
   */
  static attach(file: string, sector = 512): LoopDevice | string {
    if (process.getuid?.() !== 0) return 'a loop device needs root';
    if (!existsSync('/dev/loop-control')) return 'there are no loop devices';
    const args = ['--find', '--show', '--sector-size', String(sector), file];
    const { status, error, stdout, stderr } = spawnSync('losetup', args, { encoding: 'utf8' });
    if (status === 0) return new LoopDevice(stdout.trim());
    return `losetup: ${(error?.message ?? stderr).trim().split('\n')[0]}`;
  }

  /** What has been written to it is in the file. To be called once. */
  detach(): void {
    spawnSync('losetup', ['--detach', this.path]);
  }
}
