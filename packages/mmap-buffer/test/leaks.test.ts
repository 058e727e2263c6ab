/** What is left behind: after thousands of mappings, closed and forgotten. */

import { readFileSync } from 'node:fs';
import { createMmapReadStream, mapFile, mapFileSync, mappingStats } from '@zerocopy/mmap-buffer';
import { isLongRun } from '@zerocopy/testing/kernel-tests';
import {
  collectGarbage,
  KiB,
  MiB,
  makeFile,
  mappedAreas,
  mapSerial,
  openDescriptors,
  pattern,
  temporaryDirectory,
  until,
} from './harness.js';

const directory = temporaryDirectory();
const [maps, streams] = isLongRun ? [10_000, 3000] : [5000, 800];

const residentBytes = (): number => Number(/VmRSS:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) * KiB;

mapSerial(`${maps} maps and closes: no growth in memory, areas or descriptors`, async (t) => {
  const path = makeFile(directory, pattern(100_000));
  let sum = 0;
  const round = async (count: number): Promise<void> => {
    for (let done = 0; done < count; done++) {
      const access = (['read', 'write', 'private'] as const)[done % 3] as 'read' | 'write' | 'private';
      const mapped = done % 10 === 0 ? await mapFile(path, { access }) : mapFileSync(path, { access });
      sum += mapped.buffer[99_999] as number;
      if (done % 4 === 0) mapped.on('truncated', () => t.fail());
      await mapped.close();
      if (done % 500 === 0) await collectGarbage();
    }
    await collectGarbage();
  };
  await round(maps / 5);
  const before = { descriptors: openDescriptors(), areas: mappedAreas(), resident: residentBytes() };
  await round(maps);
  t.true(sum > 0);
  await until(() => openDescriptors() <= before.descriptors, 'the descriptors are gone, those of the lease thread too');
  // One area for ten mappings would be hundreds; the heap's own come and go by hundreds.
  t.true(mappedAreas() < before.areas + maps / 10, `${mappedAreas()} areas, ${before.areas} before`);
  const grown = residentBytes() - before.resident;
  t.true(grown < 16 * MiB, `${grown} bytes more`);
  t.deepEqual(mappingStats(), { regions: 0, lingering: 0, bytes: 0 });
});

mapSerial(
  'forgotten: the descriptor and the memory go when the mapping and its views have been collected',
  async (t) => {
    const path = makeFile(directory, pattern(MiB));
    const before = openDescriptors();
    // In a function of its own, so that nothing stays on this one's stack.
    const forget = async (): Promise<Buffer> => {
      for (let done = 0; done < 50; done++) {
        const mapped = await mapFile(path);
        mapped.on('truncated', () => {});
        void mapped.buffer[0];
      }
      return (await mapFile(path)).view(5, 10);
    };
    let kept: Buffer | undefined = await forget();
    await until(() => {
      void collectGarbage();
      return mappingStats().regions <= 1;
    }, 'all but one are gone');
    await collectGarbage();
    t.true(kept.equals(pattern(MiB).subarray(5, 15)), 'a view keeps its mapping');
    t.is(mappingStats().regions, 1);
    kept = undefined;
    await until(() => {
      void collectGarbage();
      return mappingStats().regions === 0;
    }, 'the last one is gone');
    await until(() => openDescriptors() <= before, 'the descriptors are gone, those of the lease thread too');
  },
);

mapSerial('closed with views held: the address space goes back with the last view', async (t) => {
  const path = makeFile(directory, pattern(MiB));
  const mapped = await mapFile(path);
  let held: Buffer[] | undefined = [mapped.view(0, 10), mapped.view(500, 10), mapped.buffer];
  await mapped.close();
  t.deepEqual(mappingStats(), { regions: 1, lingering: 1, bytes: MiB });
  await collectGarbage();
  t.is(mappingStats().regions, 1);
  t.is(held.length, 3);
  held = undefined;
  await until(() => {
    void collectGarbage();
    return mappingStats().regions === 0;
  }, 'it is gone');
  t.pass();
});

mapSerial(`${streams} streams, some destroyed in the middle: nothing stays`, async (t) => {
  const path = makeFile(directory, pattern(300_000));
  const before = openDescriptors();
  for (let done = 0; done < streams; done++) {
    const stream = createMmapReadStream(path, { highWaterMark: 32 * KiB, start: done });
    let chunks = 0;
    const closed = new Promise((resolve) => stream.once('close', () => resolve(undefined)));
    stream.on('data', () => {
      if (++chunks === done % 12) stream.destroy();
    });
    if (done % 13 === 0) stream.destroy();
    await closed;
  }
  t.true(openDescriptors() <= before, `${openDescriptors()} descriptors, ${before} before`);
  await until(() => {
    void collectGarbage();
    return mappingStats().regions === 0;
  }, 'all windows are gone');
});
