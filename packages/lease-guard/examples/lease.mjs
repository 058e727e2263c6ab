import { readFile } from 'node:fs/promises';
import { acquireLease } from '@zerocopy/lease-guard';

const file = process.argv[2] ?? 'data.bin';

// Until it is released, whoever opens the file for writing, or truncates it, waits.
const lease = await acquireLease(file, 'read');
lease.on('break', ({ downgradeTo, deadlineMs }) => {
  console.log(`somebody wants the file (${downgradeTo}); ${deadlineMs} ms are left`);
  lease.release();
});
console.log(`${(await readFile(file)).length} bytes, and nobody has changed them meanwhile`);
await lease.release();
