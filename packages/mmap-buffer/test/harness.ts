/** What the tests share. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { feature, probePath } from '@zerocopy/core-syscalls';
import test, { type TestFn } from 'ava';

export const KiB = 1024;
export const MiB = 1024 * KiB;

export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'zerocopy-mmap-'));
  // No hook of ava's: it runs none where every test is skipped.
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

function reasonAgainst(...names: ('mmap' | 'sigbusTrap' | 'memfdSeals')[]): string | undefined {
  for (const name of names) {
    const { available, reason } = feature(name);
    if (!available) return `${name}: ${reason}`;
  }
  return undefined;
}

const noMapping = reasonAgainst('mmap', 'sigbusTrap');
/** For tests of mappings. Where there are none they are skipped, and say why. */
export const mapTest = (noMapping === undefined ? test : test.skip) as TestFn;
/** The same for tests that look at what the whole process holds: one at a time, before all others of the file. */
export const mapSerial = (noMapping === undefined ? test.serial : test.serial.skip) as TestFn;
if (noMapping !== undefined) test.skip(`mappings: ${noMapping}`, () => {});

const noPool = reasonAgainst('mmap', 'memfdSeals');
export const poolTest = (noPool === undefined ? test : test.skip) as TestFn;
if (noPool !== undefined) test.skip(`shared buffers: ${noPool}`, () => {});

function whyNoLease(): string | undefined {
  const lease = feature('lease');
  if (!lease.available) return lease.reason;
  const directory = mkdtempSync(join(tmpdir(), 'zerocopy-lease-probe-'));
  try {
    writeFileSync(join(directory, 'file'), '');
    const { available, reason } = probePath(join(directory, 'file')).lease;
    return available ? undefined : `on the temporary directory: ${reason}`;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const leaseReason = noMapping ?? whyNoLease();
export const leaseTest = (leaseReason === undefined ? test : test.skip) as TestFn;
if (leaseReason !== undefined) test.skip(`leases: ${leaseReason}`, () => {});

let files = 0;
export function makeFile(directory: string, content: string | Buffer = 'content'): string {
  const path = join(directory, `file-${files++}`);
  writeFileSync(path, content);
  return path;
}

/** Bytes in which every position can be told from its neighbours and from a page away. */
export function pattern(length: number): Buffer {
  const buffer = Buffer.alloc(length);
  for (let at = 0; at < length; at++) buffer[at] = (at * 31 + (at >>> 8) * 17 + (at >>> 16) * 7) & 0xff;
  return buffer;
}

export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

export const fixture = (name: string): string => fileURLToPath(new URL(`./fixtures/${name}.js`, import.meta.url));

export interface Ended {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
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
  const [status, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return { status, signal, stdout, stderr };
}

/** Another process that runs `code` with `fs` and the file's `path` at hand. */
export async function elsewhere(path: string, code: string): Promise<void> {
  const program = `const fs = require('node:fs'); const path = ${JSON.stringify(path)}; ${code}`;
  const { status, stderr } = await runProgram(process.execPath, ['-e', program]);
  if (status !== 0) throw new Error(stderr);
}

export const openDescriptors = (): number => readdirSync('/proc/self/fd').length;
export const mappedAreas = (): number => readFileSync('/proc/self/maps', 'utf8').split('\n').length;

export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Collects what can be, finalizers included. */
export async function collectGarbage(): Promise<void> {
  for (let round = 0; round < 5; round++) {
    (globalThis as { gc?: () => void }).gc?.();
    await turn();
  }
}

export async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`${what} did not come true within 20 s`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
