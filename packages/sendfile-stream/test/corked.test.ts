/** Corked responses: of a file that is piped in chunks, after other bytes, the end comes behind it; and too many uncorks. */
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { createSendfileStream, sendFile } from '@zerocopy/sendfile-stream';
import test from 'ava';
import { get, KiB, pattern, temporaryDirectory, withHttpServer, writeFile } from './harness.js';

const directory = temporaryDirectory();
// As long as a small file may be, and with what goes before it at least as long as what a message likes to hold.
const content = pattern(64 * KiB);
const path = writeFile(join(directory, 'file'), content);
const BEFORE = 'before';

// Node 22's own waits for a 'drain' that does not come.
const twin = process.versions.node.startsWith('22.') ? {} : { createReadStream };

for (const [name, make] of Object.entries({ ...twin, createSendfileStream })) {
  test(`the end waits until the response is uncorked, as for Node's pipe: ${name}`, async (t) => {
    await withHttpServer(
      (_request, response) => {
        response.cork();
        response.write(BEFORE);
        let turns = 0;
        // Long after the file is open: by then all of it is in the message, or waits beneath the pipe.
        const uncork = (): void => void (turns++ < 20 ? setImmediate(uncork) : response.uncork());
        const stream = make(path) as NodeJS.ReadableStream;
        stream.once('open', uncork).pipe(response);
      },
      async (port) => {
        const { body } = await get(port);
        t.true(body.equals(Buffer.concat([Buffer.from(BEFORE), content])), `${body.length} bytes`);
      },
    );
  });
}

for (const uncorks of [1, 2]) {
  test(`a file goes into a response that was uncorked ${uncorks} times too often: nothing else would let it go`, async (t) => {
    await withHttpServer(
      async (_request, response) => {
        for (let n = 0; n < uncorks; n++) response.uncork();
        const { bytes } = await sendFile(response, path, { smallFileSize: 0, endMessage: false });
        t.is(bytes, content.length);
        response.end();
      },
      async (port) => {
        const { body } = await get(port);
        t.true(body.equals(content), `${body.length} bytes`);
      },
    );
  });
}
