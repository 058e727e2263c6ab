import { fork } from 'node:child_process';
import { SharedBufferPool } from '@zerocopy/mmap-buffer';

if (process.send === undefined) {
  const pool = new SharedBufferPool({ bufferSize: 1920 * 1080 * 4, count: 4 });
  const child = fork(import.meta.filename, { stdio: ['inherit', 'inherit', 'inherit', 'ipc', pool.fd] });
  for (let frame = 1; frame <= 3; frame++) {
    const picture = pool.acquire(); // undefined if none is free
    picture.buffer.fill(frame);
    child.send(picture.share()); // some bytes of JSON; the picture stays where it is
    picture.release();
  }
  child.once('exit', () => console.log(`${pool.available} of ${pool.count} buffers are free again`));
} else {
  const pool = SharedBufferPool.open(4);
  let seen = 0;
  process.on('message', (handle) => {
    const picture = pool.open(handle);
    console.log(`frame ${picture.buffer[0]}: ${picture.buffer.length} bytes`);
    picture.release();
    if (++seen === 3) process.exit();
  });
}
