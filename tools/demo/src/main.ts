/** The main job, shown on real input: a file served over HTTP by Node's pipeline and by zerocopy, side by side. */
import { createHash, randomFillSync } from 'node:crypto';
import { createReadStream, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { parseArgs } from 'node:util';
import {
  canPin,
  cpuSecondsPerGB,
  GB,
  hashOfDownload,
  httpContestant,
  measure,
  NodeServer,
  pinClient,
  type Sample,
  warmUp,
} from '@zerocopy/bench';
import { formatReport, libcStatus, probe } from '@zerocopy/core-syscalls';
import { SingleBar } from 'cli-progress';
import CliTable from 'cli-table3';
import { serve } from './serve.js';

const MiB = 1024 * 1024;
const FILE_TARGET = '/file';
const WARM_UP_TARGET = '/small';
const DEMO_SIZE = 256 * MiB;
/** Each contestant moves at least this much in each of its rounds. */
const BYTES_PER_ROUND = 512 * MiB;
const ROUNDS = 3;
const CONTESTANTS = ['node', 'zerocopy'] as const;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    serve: { type: 'string' },
    port: { type: 'string', default: '8080' },
    help: { type: 'boolean', default: false },
  },
});

if (values.help) {
  console.log(`npm start                              the demo, with a file it makes
npm start -- PATH                      the demo, with a file of yours
npm start -- --serve PATH --port N     keeps serving PATH, for curl`);
} else if (values.serve !== undefined) serve(resolve(values.serve), portNumber(values.port));
else await demonstrate(positionals[0]);

function portNumber(text: string): number {
  const port = Number(text);
  if (!Number.isInteger(port) || port < 0 || port > 65535) {
    console.error(`--port takes a number from 0 to 65535; got '${text}'`);
    process.exit(2);
  }
  return port;
}

async function demonstrate(given: string | undefined): Promise<void> {
  console.log(formatReport(probe()));
  const directory = mkdtempSync(join(tmpdir(), 'zerocopy-demo-'));
  process.on('SIGINT', () => process.exit(130)).on('SIGTERM', () => process.exit(143));
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }));

  // The contestants serve a directory: this one, which has the file, or a link to it, and a small one.
  const served = join(directory, FILE_TARGET);
  const path = given === undefined ? makeFile(served) : resolve(given);
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats?.isFile() !== true || stats.size === 0) {
    console.error(`${path} is not a file with something in it`);
    process.exit(2);
  }
  if (path !== served) symlinkSync(path, served);
  writeFileSync(join(directory, WARM_UP_TARGET), Buffer.alloc(4096, 's'));
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  const sha256 = hash.digest('hex');
  console.log(
    `\nServing ${given === undefined ? 'a made file' : basename(path)} of ${(stats.size / MiB).toFixed(1)} MiB, SHA-256 ${sha256.slice(0, 16)}…`,
  );
  if (!libcStatus().available) {
    console.log('The polling client needs Linux system calls too, so there is nothing to measure on this platform.');
    console.log('Every package still works here, as Node streams. Try: npm start -- --serve PATH');
    return;
  }
  const intact = await race(directory, stats.size, sha256);
  process.exitCode = intact ? 0 : 1;
}

function makeFile(path: string): string {
  const block = randomFillSync(Buffer.allocUnsafe(MiB));
  const blocks: Buffer[] = [];
  for (let n = 0; n < DEMO_SIZE / MiB; n++) {
    const copy = Buffer.from(block);
    copy.writeUInt32LE(n, 0); // no two blocks alike, so that a lost or repeated one shows in the hash
    blocks.push(copy);
  }
  writeFileSync(path, Buffer.concat(blocks));
  return path;
}

async function race(directory: string, size: number, sha256: string): Promise<boolean> {
  const pin = canPin();
  if (pin) pinClient();
  const requests = Math.max(1, Math.ceil(BYTES_PER_ROUND / size));
  const samples = new Map<string, Sample[]>(CONTESTANTS.map((name) => [name, []]));
  let intact = true;
  const servers: { readonly name: string; readonly server: NodeServer }[] = [];
  for (const name of CONTESTANTS) servers.push({ name, server: await NodeServer.http(name, directory, { pin }) });
  try {
    for (const { name, server } of servers) {
      const received = hashOfDownload(server.port, FILE_TARGET);
      const same = received.sha256 === sha256 && received.bytes === size;
      console.log(
        `${same ? '✔' : '✖'} ${name}: ${received.bytes} bytes arrived, ${same ? 'the same as the file' : `SHA-256 ${received.sha256}`}`,
      );
      intact &&= same;
      warmUp(server, WARM_UP_TARGET);
    }
    const terminal = process.stdout.isTTY === true;
    const bar = terminal ? new SingleBar({ format: '{bar} {percentage}% | {name} | {eta_formatted} left' }) : undefined;
    bar?.start(ROUNDS * CONTESTANTS.length * requests * size, 0, { name: '' });
    let done = 0;
    for (let round = 0; round < ROUNDS; round++) {
      for (const { name, server } of servers) {
        if (!terminal) console.log(`round ${round + 1} of ${ROUNDS}: ${name}`);
        bar?.update(done, { name });
        let shown = 0;
        const onBytes = (bytes: number): void => {
          if (bytes - shown < 64 * MiB) return; // drawing takes time from the client
          shown = bytes;
          bar?.update(done + bytes);
        };
        const sample = await measure(server, FILE_TARGET, requests, onBytes);
        done += sample.bytes;
        samples.get(name)?.push(sample);
      }
    }
    bar?.update(done);
    bar?.stop();
  } finally {
    await Promise.all(servers.map(({ server }) => server.stop()));
  }
  printTable(samples, pin);
  if (!intact) console.log('✖ What arrived is not what the file holds.');
  return intact;
}

function medianSample(samples: readonly Sample[]): Sample {
  const sorted = [...samples].sort((a, b) => cpuSecondsPerGB(a) - cpuSecondsPerGB(b));
  return sorted[sorted.length >> 1] as Sample;
}

function printTable(samples: ReadonlyMap<string, readonly Sample[]>, pin: boolean): void {
  const table = new CliTable({
    head: ['', 'path', 'GB/s', 'CPU s/GB', 'ratio', 'peak memory', 'own calls / MiB'],
    style: { head: [], border: [] },
  });
  const node = cpuSecondsPerGB(medianSample(samples.get('node') ?? []));
  for (const [name, own] of samples) {
    const sample = medianSample(own);
    const cost = cpuSecondsPerGB(sample);
    table.push([
      httpContestant(name).description,
      sample.method,
      (sample.bytes / GB / sample.seconds).toFixed(2),
      cost.toFixed(3),
      name === 'node' ? '1' : `${(node / cost).toFixed(1)} × less`,
      `${(sample.peakMemory / MiB).toFixed(0)} MiB`,
      sample.syscalls === 0 ? 'inside Node' : (sample.syscalls / (sample.bytes / MiB)).toFixed(2),
    ]);
  }
  console.log(
    `\nMedians of ${ROUNDS} interleaved rounds, HTTP over loopback${pin ? ', server and client on cores of their own' : ''}:`,
  );
  console.log(table.toString());
  console.log('CPU is user and system time of the serving process. More: npm run bench');
}
