/** The probe's report, for people. */
import { styleText } from 'node:util';
import { type FeatureName, featureNames } from './feature-names.js';
import type { NetworkInterface } from './network-interfaces.js';
import type { CapabilityReport } from './report.js';

const MEANING: Readonly<Record<FeatureName, string>> = {
  sendfile: 'files to sockets',
  splice: 'sockets and pipes to each other',
  tee: 'one stream to several',
  vmsplice: 'memory into pipes',
  copyFileRange: 'files to files',
  mmap: 'files as memory',
  lease: 'told before a file changes',
  sigbusTrap: 'truncation cannot kill',
  openat2: 'opens confined to a directory',
  openat2Cached: 'opens that never wait for a disk',
  preadvNowait: 'reads that never wait for a disk',
  cachestat: 'page cache counted',
  statxDirectIo: 'alignment for direct I/O',
  directIo: 'reads past the page cache',
  memfdSeals: 'memory that cannot shrink',
  ioUring: 'submission queues',
  msgZerocopy: 'sends without a copy',
  kernelTls: 'encryption in the kernel',
};

type Style = 'green' | 'red' | 'dim' | 'bold' | 'yellow';

/**
 * A table for a terminal of 100 columns; coloured if standard output is a terminal and NO_COLOR is not set.
 * A missing feature's reason stands in its row.
 */
export function formatReport(report: CapabilityReport): string {
  const colours = process.stdout.isTTY === true && !process.env.NO_COLOR;
  const paint = (style: Style, text: string): string => (colours ? styleText(style, text) : text);
  const lines = [
    paint('bold', `zerocopy on ${report.platform} ${report.kernel}, ${report.arch}, pages of ${report.pageSize} bytes`),
  ];
  if (report.disabledPackages.length > 0) lines.push(`disabled: ${report.disabledPackages.join(', ')}`);
  if (report.configurationError !== undefined) lines.push(paint('red', report.configurationError));

  const width = Math.max(...featureNames.map((name) => name.length));
  for (const name of featureNames) {
    const { available, reason } = report.features[name];
    const mark = available ? paint('green', '✔') : paint('red', '✖');
    const text = available ? paint('dim', MEANING[name]) : (reason ?? '');
    lines.push(`  ${mark} ${name.padEnd(width)}  ${text}`);
  }
  if (report.interfaces.length > 0) {
    lines.push(paint('bold', 'network cards'));
    const longest = Math.max(...report.interfaces.map(({ name }) => name.length));
    for (const card of report.interfaces) lines.push(`  ${card.name.padEnd(longest)}  ${describeCard(card)}`);
  }
  const { pipeMaxSize, pipeUserPagesSoft, leaseBreakTimeMs } = report.limits;
  const known = [
    pipeMaxSize === undefined ? undefined : `pipes up to ${pipeMaxSize / 1024} KiB`,
    pipeUserPagesSoft === undefined ? undefined : `${pipeUserPagesSoft} pipe pages a user`,
    leaseBreakTimeMs === undefined ? undefined : `leases broken after ${leaseBreakTimeMs / 1000} s`,
  ].filter((text) => text !== undefined);
  if (known.length > 0) lines.push(`${paint('bold', 'limits')}  ${known.join(', ')}`);
  for (const { id, description } of report.knownProblems) lines.push(paint('yellow', `! ${id}: ${description}`));
  return lines.join('\n');
}

function describeCard({ name, scatterGather, checksumOffload, segmentationOffload, reason }: NetworkInterface): string {
  if (scatterGather === undefined) return `unknown: ${reason ?? 'it could not be asked'}`;
  const state = (on: boolean | undefined): string => (on === true ? 'on' : 'off');
  const facts = `scatter-gather ${state(scatterGather)}, checksums ${state(checksumOffload)}, segmentation ${state(segmentationOffload)}`;
  if (name === 'lo') return `${facts}: nothing leaves the machine`;
  const free = scatterGather && checksumOffload === true;
  return `${facts}: sendfile ${free ? 'is free of copies down to the wire' : 'costs one copy into the driver'}`;
}
