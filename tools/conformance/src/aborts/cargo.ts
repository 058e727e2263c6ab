/** What a process has under way when it ends: the same jobs for the packages and for their twin, Node's own streams. */
import { closeSync, fsyncSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Hooks } from '../ways/way.js';
import type { Hosts } from './hosts.js';

export interface Setting {
  readonly hosts: Hosts;
  readonly hooks: Hooks;
  /** Of this process's own. */
  readonly directory: string;
  /** A file of some MiB that nobody changes. */
  readonly file: string;
}

/** Does one thing, and does it again when it is done: each time is one call. It calls `moved` when bytes move. */
export type Job = (setting: Setting, moved: () => void) => Promise<void>;

export interface Cargo {
  /** Without end. */
  readonly jobs: Readonly<Record<string, Job>>;
  /** Leaves transfers behind that wait for a peer, and nothing of its own that keeps the process alive. */
  idle(setting: Setting): Promise<void>;
}

/** Starts all jobs over and over; resolves when each has moved something. A job that fails fails the process. */
export async function startAll(jobs: Cargo['jobs'], setting: Setting): Promise<void> {
  const moving = Object.values(jobs).map(
    (job) =>
      new Promise<void>((resolve) => {
        void repeat(() => job(setting, resolve));
      }),
  );
  await Promise.all(moving);
}

async function repeat(once: () => Promise<void>): Promise<void> {
  for (;;) {
    await once();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

export const FILE_SIZE: number = 4 * 1024 * 1024;

export function makeFile(directory: string, name: string, size: number = FILE_SIZE): string {
  const path = join(directory, name);
  writeFileSync(path, Buffer.alloc(size, name));
  return path;
}

/** A file on the disk, not only in memory, so that it can be read cold. */
export function makeDurableFile(directory: string, name: string): string {
  const path = makeFile(directory, name);
  const fd = openSync(path, 'r+');
  fsyncSync(fd);
  closeSync(fd);
  return path;
}
