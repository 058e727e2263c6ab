/** Every way of the catalogue that has connections, over the link to the other host and back; all of them at once. */
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { KiB } from '@zerocopy/testing/bytes';
import { removeDirectory } from '@zerocopy/testing/files';
import { inTime, until } from '@zerocopy/testing/waiting';
import { allWays, whyNot } from '../ways/index.js';
import { begin, complaintOf, type Delivery, type Way } from '../ways/way.js';
import type { Wire } from '../ways/wire.js';
import type { Condition } from './conditions.js';

/** What has been seen of one way. */
export interface Passage {
  readonly way: string;
  /** What is wrong; empty if nothing is. */
  readonly faults: string[];
  /** Bytes that have been compared with what was to arrive. */
  readonly bytes: number;
  readonly methods: readonly string[];
}

export interface Crossing {
  readonly wire: Wire;
  readonly directory: string;
  readonly content: Buffer;
  /** How long one way may take, in milliseconds. */
  readonly patienceMs: number;
  readonly condition: Pick<Condition, 'littleAtATime'>;
  /** Part of the name of a way: only these; default: all. */
  readonly only?: string | undefined;
  /** To be waited for when every way has come to its middle; default: there is no stop. */
  readonly middle?: (() => Promise<void>) | undefined;
}

/** Enough for a proxy to find it worth splicing, in bytes. */
const BACKLOG = 128 * KiB;

/** Of the ways that are to be stopped in their middle: how many may be over before. */
const EARLY_MAX = 0.1;

/** A proxy copies what comes in small pieces; that is no refusal, but what its README says. */
const TOO_LITTLE = /^what came was too little for splice/;

/** What is wrong with what has arrived, and with how it was moved. */
export function judge(
  { name, copied = false }: Pick<Way, 'name' | 'copied'>,
  deliveries: readonly Delivery[],
  content: Buffer,
  { littleAtATime }: Pick<Condition, 'littleAtATime'>,
): string[] {
  const faults: string[] = [];
  for (const delivery of deliveries) {
    const { error, method, fallbackReason = '' } = delivery;
    const complaint = complaintOf(delivery, content) ?? error?.message;
    if (complaint !== undefined) faults.push(complaint);
    const mayBeLittle = littleAtATime || name.includes('after the half-close'); // of which nothing waits at first
    const isLittle = mayBeLittle && name.startsWith('proxy') && TOO_LITTLE.test(fallbackReason);
    if (method === 'copy' && !copied && !isLittle) faults.push(`copied: ${fallbackReason}`);
  }
  if (deliveries.length === 0) faults.push('nothing has been seen');
  return faults;
}

/** Those that go as their names say on this system as it is. */
const ways = allWays.filter((way) => way.background?.absent === undefined && whyNot(way) === undefined);
/** Those of them that have no connections, once that is known. */
const local = new Set<Way>();

export async function passAll(crossing: Crossing): Promise<readonly Passage[]> {
  const { only = '' } = crossing;
  const chosen = ways.filter((way) => !local.has(way) && way.name.includes(only));
  let toCome = chosen.length;
  let allThere = (): void => {};
  const stopped = new Promise<void>((resolve) => {
    allThere = resolve;
  });
  /** One more has come to its middle, or to its end without one. */
  const arrive = (): void => {
    if (--toCome === 0) allThere();
  };
  const goOn = stopped.then(() => crossing.middle?.());
  const early: Passage[] = [];
  const seen = await Promise.all(chosen.map((way) => pass(way, crossing, arrive, goOn, early)));
  // A busy host may have taken all of one of them before it was looked at. Of many, nothing would have been tried.
  if (early.length > chosen.length * EARLY_MAX) {
    for (const { faults } of early) faults.push('it was over before it came to a middle');
  }
  return seen.filter((passage) => passage !== undefined);
}

async function pass(
  way: Way,
  crossing: Crossing,
  arrive: () => void,
  goOn: Promise<void>,
  early: Passage[],
): Promise<Passage | undefined> {
  const { wire, content, patienceMs, condition, middle } = crossing;
  const directory = mkdtempSync(join(crossing.directory, 'passage-'));
  const faults: string[] = [];
  let deliveries: readonly Delivery[] = [];
  let arrived = false;
  let isEarly = false;
  try {
    const { stage, over, told, moving } = await begin(
      way,
      { directory, content, wire, backlog: condition.littleAtATime ? 0 : BACKLOG },
      middle !== undefined,
    );
    try {
      if (stage.peers.length === 0) local.add(way);
      if (middle !== undefined) {
        await until(moving, 'a middle');
        isEarly = told() !== undefined && !local.has(way);
        arrive();
        arrived = true;
        await goOn;
        stage.goOn();
      }
      const ending = over.then((all) => stage.deliveries(all));
      deliveries = await inTime(ending, patienceMs);
    } finally {
      await stage.dispose();
    }
    faults.push(...judge(way, deliveries, content, condition));
  } catch (error) {
    faults.push(String((error as Error).stack));
  } finally {
    if (!arrived) arrive();
    removeDirectory(directory);
  }
  if (local.has(way) && faults.length === 0) return undefined;
  const methods = [...new Set(deliveries.flatMap(({ method }) => method ?? []))];
  const bytes = deliveries.reduce((sum, { received }) => sum + received.length, 0);
  const passage: Passage = { way: way.name, faults, bytes, methods };
  if (isEarly) early.push(passage);
  return passage;
}
