import { stat } from 'node:fs/promises';
import { openDirect } from '@zerocopy/direct-io';

// Random blocks of 4 KiB, with 32 requests under way.
const [path = 'data.bin', count = '1000'] = process.argv.slice(2);
const BLOCK = 4096;

const file = await openDirect(path);
const blocks = Math.floor((await stat(path)).size / BLOCK);
let left = Number(count);
let bytes = 0;
const reader = async () => {
  while (left-- > 0) {
    const block = await file.read(Math.floor(Math.random() * blocks) * BLOCK, BLOCK);
    bytes += block.length;
  }
};
await Promise.all(Array.from({ length: 32 }, reader));
await file.close();
console.log(`${bytes} bytes by ${file.method}, aligned to ${file.alignment.readOffset}`);
