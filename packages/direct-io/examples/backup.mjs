import { pipeline } from 'node:stream/promises';
import { createDirectReadStream, createDirectWriteStream } from '@zerocopy/direct-io';

// A backup that leaves the page cache to those who work with it.
const [source = 'data.bin', destination = 'backup.bin'] = process.argv.slice(2);

const from = createDirectReadStream(source, { highWaterMark: 4 * 1024 * 1024 });
const to = createDirectWriteStream(destination, { datasync: 'end' });
await pipeline(from, to);
console.log(`${to.bytesWritten} bytes, read by ${from.method}, written by ${to.method}`);
