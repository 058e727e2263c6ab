/** Draws uploads, and runs them some at a time. */
import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import { touches } from './touches.js';
import { type Plan, TouchedUploads } from './upload.js';

const KiB = 1024;
const AT_ONCE = 8;
const WAYS = ['pipeline', 'pipeline', 'splice', 'receiveFile', 'receiveFile, atomic'] as const;
const NAMES = Object.keys(touches);

/** What {@link search} has found. */
export interface Found {
  readonly runs: number;
  readonly whole: number;
  readonly failed: number;
  readonly complaints: readonly { readonly plan: Plan; readonly complaint: string }[];
}

/** Every byte from 1 to 255: a zero is invented. */
function bodyOf(size: number, from: number): Buffer {
  const body = Buffer.allocUnsafe(size);
  for (let at = 0; at < size; at++) body[at] = 1 + ((at * 31 + (at >>> 8) * 17 + from) % 255);
  return body;
}

/** Runs `count` uploads, drawn by `seed`, with files in `directory`. */
export async function search(count: number, seed: number, directory: string): Promise<Found> {
  const generator = xoroshiro128plus(seed);
  const draw = (min: number, max: number): number => uniformInt(generator, min, max);
  const plan = (): Plan => ({
    way: WAYS[draw(0, WAYS.length - 1)] as Plan['way'],
    chunked: draw(0, 5) === 0,
    // Small ones are collected, larger ones taken from Node.
    size: (draw(0, 2) === 0 ? draw(0, 255) : draw(260, 1600)) * KiB + draw(0, 999),
    piece: draw(8, 128) * KiB,
    wait: draw(0, 3) === 0 ? 1 : 0,
    touches: Array.from({ length: draw(1, 4) }, () => ({
      name: NAMES[draw(0, NAMES.length - 1)] as string,
      after: draw(0, 25),
    })),
  });
  const uploads = new TouchedUploads(directory);
  await uploads.start();
  const complaints: { plan: Plan; complaint: string }[] = [];
  let left = count;
  const one = async (): Promise<void> => {
    while (left-- > 0) {
      const drawn = plan();
      const complaint = await uploads.run(drawn, bodyOf(drawn.size, draw(0, 254)));
      if (complaint !== undefined) complaints.push({ plan: drawn, complaint });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
  uploads.stop();
  return { runs: count, ...uploads.ends, complaints };
}
