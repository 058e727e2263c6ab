/** A command run in this process, with streams that are kept. */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { PassThrough, Writable } from 'node:stream';
import { Interruption, run } from '@zerocopy/cli';

/** The program, for tests that need a process of its own. */
export const program: string = join(dirname(createRequire(import.meta.url).resolve('@zerocopy/cli')), 'main.js');

export interface Outcome {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

class Kept extends Writable {
  text = '';

  override _write(chunk: Buffer, _encoding: string, callback: () => void): void {
    this.text += chunk.toString();
    this.emit('kept');
    callback();
  }
}

/** Runs `zerocopy` with these arguments. @param input of standard input. */
export async function zerocopy(args: readonly string[], signal?: AbortSignal, input?: Buffer): Promise<Outcome> {
  const [stdout, stderr] = [new Kept(), new Kept()];
  const stdin = new PassThrough();
  if (input !== undefined) stdin.end(input);
  const stdio = { stdin, stdout, stderr, env: {} };
  const status = await run(args, signal === undefined ? stdio : { ...stdio, signal });
  return { status, out: stdout.text, err: stderr.text };
}

/** A directory that is removed when the tests of the file are over. */
export function temporary(test: { after: { always(remove: () => void): void } }): string {
  const directory = mkdtempSync(join(tmpdir(), 'zerocopy-cli-'));
  test.after.always(() => {
    spawnSync('chmod', ['-R', 'u+rwX', directory]); // some were closed to their owner
    rmSync(directory, { recursive: true, force: true });
  });
  return directory;
}

/** A command that goes on until it is stopped. */
export interface Running {
  readonly out: string;
  readonly err: string;
  /** Waits until it has said this on standard error. */
  said(expected: RegExp): Promise<RegExpExecArray>;
  /** Its exit status, when it has ended by itself. */
  readonly ended: Promise<number>;
  /** As SIGTERM does. @returns the exit status. */
  stop(): Promise<number>;
}

/** Starts `zerocopy` with these arguments. */
export function start(args: readonly string[]): Running {
  const [stdout, stderr] = [new Kept(), new Kept()];
  const controller = new AbortController();
  const { signal } = controller;
  const ended = run(args, { stdin: new PassThrough(), stdout, stderr, env: {}, signal });
  return {
    get out() {
      return stdout.text;
    },
    get err() {
      return stderr.text;
    },
    async said(expected) {
      for (;;) {
        const match = expected.exec(stderr.text);
        if (match !== null) return match;
        await Promise.race([
          once(stderr, 'kept'),
          ended.then((status) => fail(`it ended with ${status}`, stderr.text)),
        ]);
      }
    },
    ended,
    stop() {
      controller.abort(new Interruption('SIGTERM'));
      return ended;
    },
  };
}

function fail(what: string, told: string): never {
  throw new Error(`${what}: ${told}`);
}
