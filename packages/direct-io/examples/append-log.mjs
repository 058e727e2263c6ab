import { constants } from 'node:fs';
import { stat } from 'node:fs/promises';
import { openDirect } from '@zerocopy/direct-io';

// An append-only log: a record has been acknowledged when it is on the disk.
const [path = 'records.log', ...records] = process.argv.slice(2);

const log = await openDirect(path, constants.O_CREAT | constants.O_WRONLY, { datasync: 'each' });
try {
  let { size } = await stat(path);
  for (const record of records) {
    size += await log.write(size, Buffer.from(`${record}\n`));
    console.log(`${record} is durable, up to byte ${size}`);
  }
} finally {
  await log.close(); // or: await using log = …
}
