/** Every package at work, in short: what children, sandboxes and the want of descriptors are let loose on. */
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { inTime } from '@zerocopy/testing/waiting';
import { allWays, whyNot } from '../ways/index.js';
import { type Delivery, disorderIn, run, type Way } from '../ways/way.js';

/**
 * Whether a way brings nothing that others do not bring: the same by another temperature, pace, or missing call; or
 * needs a pipe or a child of its own, which cannot be had where pipe2 is forbidden.
 */
const isVariant = ({ name, background }: Way): boolean =>
  background?.absent !== undefined ||
  /pipe|child|cold|late|in messages|in the middle|grown beyond|with holes/.test(name);

export const everything: readonly Way[] = allWays.filter((way) => !isVariant(way));

export interface Ran {
  readonly way: Way;
  readonly deliveries: readonly Delivery[];
  /** Bytes that differ, or that are missing without an error; or that it does not end. */
  readonly complaint: string | undefined;
}

/** Milliseconds after which something has come to a halt. */
const PATIENCE = 20_000;

/** All of it at once. What the probe does not find is left out. @param parent a directory to work in. */
export const runEverything = (content: Buffer, parent: string): Promise<readonly Ran[]> =>
  Promise.all(
    everything
      .filter((way) => whyNot(way) === undefined)
      .map(async (way): Promise<Ran> => {
        try {
          const deliveries = await inTime(
            run(way, { directory: mkdtempSync(join(parent, 'everything-')), content }),
            PATIENCE,
          );
          return { way, deliveries, complaint: deliveries.map((one) => complaintOf(one, content)).find(Boolean) };
        } catch (error) {
          return { way, deliveries: [], complaint: String((error as Error).stack) };
        }
      }),
  );

/** Without the count of one that has failed. */
function complaintOf({ received, error, expected = received }: Delivery, content: Buffer): string | undefined {
  const whole = expected === received ? content : expected;
  if (error === undefined && !received.equals(whole))
    return `${received.length} bytes have arrived, and not the right ones`;
  return disorderIn(received, whole);
}
