/** What a server keeps of each response, after `--responses N` of `--length` bytes, by every way. */
import { parseArgs } from 'node:util';
import { retainedBy, WAY_NAMES } from './retained.js';

const { values } = parseArgs({
  options: {
    responses: { type: 'string', default: '1000000' },
    length: { type: 'string', default: '1024' },
  },
});
/** Bytes for each response, at most: less than the smallest object has, every twentieth time. */
const MOST = 1;

for (const way of WAY_NAMES) {
  const bytes = await retainedBy({ way, responses: Number(values.responses), length: Number(values.length) });
  const isRight = bytes <= MOST;
  if (!isRight) process.exitCode = 1;
  console.log(
    `${isRight ? '✔' : '✖'} ${way}: ${bytes.toFixed(3)} bytes of heap for each of ${values.responses} responses`,
  );
}
