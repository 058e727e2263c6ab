/** A command run in this process, with streams that are kept. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Writable } from 'node:stream';
import { run } from '@zerocopy/cli';

export interface Outcome {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

class Kept extends Writable {
  text = '';

  override _write(chunk: Buffer, _encoding: string, callback: () => void): void {
    this.text += chunk.toString();
    callback();
  }
}

/** Runs `zerocopy` with these arguments. */
export async function zerocopy(args: readonly string[], signal?: AbortSignal): Promise<Outcome> {
  const [stdout, stderr] = [new Kept(), new Kept()];
  const stdio = { stdin: new PassThrough(), stdout, stderr, env: {} };
  const status = await run(args, signal === undefined ? stdio : { ...stdio, signal });
  return { status, out: stdout.text, err: stderr.text };
}

/** A directory that is removed when the tests of the file are over. */
export function temporary(test: { after: { always(remove: () => void): void } }): string {
  const directory = mkdtempSync(join(tmpdir(), 'zerocopy-cli-'));
  test.after.always(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}
