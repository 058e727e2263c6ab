import { createHash } from 'node:crypto';
import { createDirectReadStream } from '@zerocopy/direct-io';

// The checksum of a large file, in memory that is used again and again.
const [path = 'data.bin'] = process.argv.slice(2);

const hash = createHash('sha256');
const source = createDirectReadStream(path);
for await (const chunk of source) {
  hash.update(chunk);
  source.release(chunk);
}
console.log(`${hash.digest('hex')}  ${path}`);
