import { copyFile } from '@zerocopy/file-copy';

const [source = 'data.bin', destination = 'copy.bin'] = process.argv.slice(2);

const { bytes, method } = await copyFile(source, destination, {
  onProgress: (done, total) => process.stderr.write(`${done} of ${total}\n`),
  signal: AbortSignal.timeout(60_000),
});
console.log(`${bytes} bytes by ${method}`);
