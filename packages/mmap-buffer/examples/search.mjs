import { mapFile } from '@zerocopy/mmap-buffer';

const [file = 'data.bin', word = 'needle'] = process.argv.slice(2);

const mapped = await mapFile(file);
mapped.on('truncated', () => console.error('somebody has cut the file short'));
let found = 0;
for (let at = mapped.buffer.indexOf(word); at >= 0; at = mapped.buffer.indexOf(word, at + 1)) found++;
console.log(`${word} occurs ${found} times in ${mapped.length} bytes`);
await mapped.close();
