/** What the tests share. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { feature, probePath } from '@zerocopy/core-syscalls';
import test, { type TestFn } from 'ava';

export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'zerocopy-lease-'));
  // No hook of ava's: it runs none where every test is skipped.
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** How long the kernel waits for the holder of a lease, in milliseconds; 0: for ever. */
export const breakTime = Number(readFileSync('/proc/sys/fs/lease-break-time', 'utf8')) * 1000;

function whyNoLease(): string | undefined {
  const lease = feature('lease');
  if (!lease.available) return lease.reason;
  if (breakTime < 5000) return `they need /proc/sys/fs/lease-break-time of 5 s or more, and it is ${breakTime / 1000}`;
  const directory = mkdtempSync(join(tmpdir(), 'zerocopy-lease-probe-'));
  try {
    writeFileSync(join(directory, 'file'), '');
    const { available, reason } = probePath(join(directory, 'file')).lease;
    return available ? undefined : `on the temporary directory: ${reason}`;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const leaseReason = whyNoLease();
/** For tests that take leases. Where none can be had they are skipped, and say why. */
export const leaseTest = (leaseReason === undefined ? test : test.skip) as TestFn;
if (leaseReason !== undefined) test.skip(`leases: ${leaseReason}`, () => {});

const trap = feature('sigbusTrap');
export const trapTest = (trap.available ? test : test.skip) as TestFn;
if (!trap.available) test.skip(`the SIGBUS trap: ${trap.reason}`, () => {});
/** For tests of both together; the lines above say what is missing. */
export const leaseAndTrapTest = (leaseReason === undefined ? trapTest : test.skip) as TestFn;

let files = 0;
export function makeFile(directory: string, content: string | Buffer = 'content'): string {
  const path = join(directory, `file-${files++}`);
  writeFileSync(path, content);
  return path;
}

export interface Ended {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly milliseconds: number;
}

export async function runProgram(program: string, args: readonly string[]): Promise<Ended> {
  const startedAt = performance.now();
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const [status, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return { status, signal, stdout, stderr, milliseconds: performance.now() - startedAt };
}

/** Another process that runs `code` with `fs` at hand, and prints how long the last line of it took. */
export const elsewhere = (code: string): Promise<Ended> =>
  runProgram(process.execPath, [
    '-e',
    `const fs = require('node:fs'); const startedAt = performance.now();
     try { ${code}; console.log(\`done \${Math.round(performance.now() - startedAt)}\`); }
     catch (error) { console.log(\`\${error.code} \${Math.round(performance.now() - startedAt)}\`); }`,
  ]);

export const openForWriting = (path: string): Promise<Ended> => elsewhere(`fs.openSync(${JSON.stringify(path)}, 'r+')`);

export const fixture = (name: string): string => fileURLToPath(new URL(`./fixtures/${name}.js`, import.meta.url));

export const openDescriptors = (): number => readdirSync('/proc/self/fd').length;
export const threads = (): number => readdirSync('/proc/self/task').length;

export async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`${what} did not come true within 20 s`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
