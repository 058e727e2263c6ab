import { spawn } from 'node:child_process';
import { copy } from '@zerocopy/pipeline';

const [source = 'data.bin', destination = 'copy.bin'] = process.argv.slice(2);

const whole = await copy(source, destination);
console.log(`${whole.bytes} bytes from a path to a path by ${whole.method}`);

const child = spawn('cat', [source], { stdio: ['ignore', 'pipe', 'inherit'] });
const output = await copy(child.stdout, destination, { onProgress: (bytes) => process.stderr.write(`${bytes}\n`) });
console.log(`${output.bytes} bytes from a child to a path by ${output.method}`);
