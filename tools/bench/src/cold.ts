/** `npm run bench:cold`: 64 downloads at once of files that are not in memory. How late the loop is, how fast they come, and at what cost. */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fsyncSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { constants, syscalls } from '@zerocopy/core-syscalls';
import CliTable from 'cli-table3';
import { max, median, min } from 'simple-statistics';
import { CLIENT_CORE, ContestantServer, canPin } from './contestant-server.js';
import { FILE_TARGET } from './contestants.js';
import { GB, warmUp } from './measure.js';

const MiB = 1024 * 1024;
const STREAMS = 64;
const SIZE = 8 * MiB;
const CONTESTANTS = ['node', 'zerocopy', 'zerocopy-sendFile'];

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    directory: { type: 'string', default: tmpdir() },
  },
});

interface ColdSample {
  readonly gigabytesPerSecond: number;
  readonly cpuSecondsPerGB: number;
  readonly loopDelayP99: number;
}

const pin = canPin();
if (pin) spawnSync('taskset', ['-cp', CLIENT_CORE, String(process.pid)]);
const directory = mkdtempSync(join(values.directory, 'zerocopy-cold-'));
const base = join(directory, 'file');
const files = Array.from({ length: STREAMS }, (_, n) => `${base}-${n}`);

function dropFromMemory(): void {
  for (const file of files) {
    const fd = openSync(file, 'r');
    fsyncSync(fd);
    syscalls.posixFadvise(fd, 0, 0, constants.POSIX_FADV_DONTNEED);
    closeSync(fd);
  }
}

async function download(port: number, n: number): Promise<number> {
  let received = 0;
  const buffer = Buffer.allocUnsafe(256 * 1024);
  const callback = (bytes: number): boolean => {
    received += bytes;
    return true;
  };
  const socket = connect({ port, host: '127.0.0.1', onread: { buffer, callback } });
  socket.write(`GET ${FILE_TARGET}-${n} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
  await once(socket, 'close');
  if (received < SIZE) throw new Error(`only ${received} bytes of file ${n} arrived`);
  return received;
}

async function measureCold(server: ContestantServer): Promise<ColdSample> {
  dropFromMemory();
  await server.report(true);
  const startedAt = performance.now();
  const bytes = (await Promise.all(files.map((_, n) => download(server.port, n)))).reduce((a, b) => a + b);
  const seconds = (performance.now() - startedAt) / 1000;
  const { cpuSeconds, loopDelayP99 = Number.NaN } = await server.report(true);
  return { gigabytesPerSecond: bytes / GB / seconds, cpuSecondsPerGB: cpuSeconds / (bytes / GB), loopDelayP99 };
}

try {
  writeFileSync(base, 'x');
  for (const file of files) writeFileSync(file, Buffer.alloc(SIZE, file));
  const servers: { readonly name: string; readonly server: ContestantServer; readonly samples: ColdSample[] }[] = [];
  for (const name of CONTESTANTS) {
    servers.push({ name, server: await ContestantServer.start(name, base, pin), samples: [] });
  }
  for (const { server } of servers) await warmUp(server);
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const { server, samples } of servers) samples.push(await measureCold(server));
  }
  await Promise.all(servers.map(({ server }) => server.stop()));

  const table = new CliTable({ head: ['', 'loop delay p99, ms', 'GB/s', 'CPU s/GB'], style: { head: [], border: [] } });
  const cell = (own: readonly number[], digits: number): string =>
    `${median([...own]).toFixed(digits)} (${min([...own]).toFixed(digits)}–${max([...own]).toFixed(digits)})`;
  for (const { name, samples } of servers) {
    table.push([
      name,
      cell(
        samples.map((sample) => sample.loopDelayP99),
        1,
      ),
      cell(
        samples.map((sample) => sample.gigabytesPerSecond),
        2,
      ),
      cell(
        samples.map((sample) => sample.cpuSecondsPerGB),
        2,
      ),
    ]);
  }
  console.log(table.toString());
  console.log(
    `${STREAMS} cold files of ${SIZE / MiB} MiB at once; medians (minimum–maximum) of ${values.rounds} rounds.`,
  );
} finally {
  rmSync(directory, { recursive: true, force: true });
}
