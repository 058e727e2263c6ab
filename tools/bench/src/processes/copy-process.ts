/** Copies files when it is told to: one contestant. */
import { closeSync, openSync } from 'node:fs';
import { copyFile as nodeCopyFile } from 'node:fs/promises';
import { constants, syscalls } from '@zerocopy/core-syscalls';
import { copyFile } from '@zerocopy/file-copy';
import { answerReports, answerTasks, tell } from './reporting.js';

export interface CopyTask {
  readonly from: string;
  readonly to: string;
}

/** The floor where the filesystem has reflinks. */
function bareClone({ from, to }: CopyTask): void {
  const [input, output] = [openSync(from, 'r'), openSync(to, 'w')];
  const result = syscalls.ioctl(output, constants.FICLONE, input);
  closeSync(input);
  closeSync(output);
  if (result !== 0) throw new Error('this filesystem has no reflinks');
}

const [name = ''] = process.argv.slice(2);
let method = 'its own';
const ours = async ({ from, to }: CopyTask, reflink: 'auto' | 'never'): Promise<void> => {
  method = (await copyFile(from, to, { reflink })).method;
};
const ways: Readonly<Record<string, (task: CopyTask) => unknown>> = {
  node: ({ from, to }) => nodeCopyFile(from, to),
  zerocopy: (task) => ours(task, 'auto'),
  'zerocopy-disabled': (task) => ours(task, 'auto'),
  'zerocopy-never': (task) => ours(task, 'never'),
  floor: bareClone,
};
const copy = ways[name];
if (copy === undefined) throw new RangeError(`no way to copy is called '${name}'`);

answerReports(() => ({ method }));
answerTasks({
  async copy(task) {
    const startedAt = performance.now();
    await copy(task as CopyTask);
    return { milliseconds: performance.now() - startedAt };
  },
});
tell({ port: 0 });
