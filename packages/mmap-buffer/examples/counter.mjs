import { closeSync, openSync } from 'node:fs';
import { mapFile } from '@zerocopy/mmap-buffer';

const file = process.argv[2] ?? 'counter.bin';
closeSync(openSync(file, 'a')); // it has to be there

const mapped = await mapFile(file, { access: 'write' });
if (mapped.length < 4) await mapped.resize(4); // blocks are reserved: a full disk is an error here
const count = mapped.buffer.readUInt32LE(0) + 1;
mapped.buffer.writeUInt32LE(count, 0);
await mapped.flushAsync(); // until it is on the disk
await mapped.close();
console.log(`run ${count} times`);
