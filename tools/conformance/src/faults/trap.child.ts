/**
 * A process of its own, in which the SIGBUS trap is installed for the first time, under a plan; and in which a mapped
 * file is cut short then. Prints what came of it. Arguments: the plan as JSON, the path of a file.
 */
import './install.js';
import { closeSync, openSync, readFileSync, truncateSync } from 'node:fs';
import { argv } from 'node:process';
import { constants, feature, syscalls } from '@zerocopy/core-syscalls';
import { memoryAt } from '@zerocopy/core-syscalls/native';
import { guardMapping, installSigbusTrap } from '@zerocopy/lease-guard';
import { type FaultPlan, withFaults } from './injection.js';

export interface TrapAnswer {
  readonly calls: number;
  readonly hit: string | undefined;
  /** The code of the error that it was told with. */
  readonly code: string | undefined;
  /** Mappings of handlers, besides the one that there has to be. */
  readonly kept: number;
  /** What a page that is missing reads as, in the end. */
  readonly read: number;
}

const [, , planText, path] = argv as [string, string, string, string];
const plan = JSON.parse(planText) as FaultPlan | null;

const mappings = (): number => readFileSync('/proc/self/maps', 'utf8').split('memfd:zerocopy').length;

const { PROT_READ, MAP_SHARED } = constants;
const page = syscalls.getpagesize();
const fd = openSync(path, 'r');
const address = syscalls.mmap(null, page, PROT_READ, MAP_SHARED, fd, 0);
closeSync(fd);
feature('sigbusTrap');
const before = mappings();
let code: string | undefined;
const { report } = await withFaults(plan ?? undefined, async () => {
  try {
    installSigbusTrap();
    guardMapping(address, page).release();
  } catch (error) {
    code = (error as NodeJS.ErrnoException).code ?? String(error);
  }
});
guardMapping(address, page); // afterwards it can be done
const kept = mappings() - before - 1;
truncateSync(path);
const read = new Uint8Array(memoryAt(address, page))[0] as number;
const answer: TrapAnswer = { calls: report.calls.length, hit: report.hit, code, kept, read };
console.log(JSON.stringify(answer));
