/** What the tests share. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { feature } from '@zerocopy/core-syscalls';
import test, { type TestFn } from 'ava';

export const KiB = 1024;
export const MiB = 1024 * KiB;

export function temporaryDirectory(parent: string = tmpdir()): string {
  const directory = mkdtempSync(join(parent, 'zerocopy-copy-'));
  // No hook of ava's: it runs none where every test is skipped.
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

const { available, reason } = feature('copyFileRange');
/** For tests of the kernel path. Where it cannot be taken they are skipped, and say why. */
export const kernelTest = (available ? test : test.skip) as TestFn;
if (!available) test.skip(`the kernel path: ${reason}`, () => {});

let files = 0;
export function makeFile(directory: string, content: string | Buffer = 'content'): string {
  const path = join(directory, `file-${files++}`);
  writeFileSync(path, content);
  return path;
}
export const fresh = (directory: string): string => join(directory, `copy-${files++}`);

/** Bytes in which every position can be told from its neighbours and from a page away. */
export function pattern(length: number): Buffer {
  const buffer = Buffer.alloc(length);
  for (let at = 0; at < length; at++) buffer[at] = (at * 31 + (at >>> 8) * 17 + (at >>> 16) * 7) & 0xff;
  return buffer;
}

export const fixture = (name: string): string => fileURLToPath(new URL(`./fixtures/${name}.js`, import.meta.url));

export interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export async function runProgram(
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): Promise<Ended> {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env });
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const [status] = (await once(child, 'close')) as [number | null];
  return { status, stdout, stderr };
}

export const openDescriptors = (): number => readdirSync('/proc/self/fd').length;
