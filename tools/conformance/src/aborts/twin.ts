/** The same as ours.ts, by Node's own streams. */
import { once } from 'node:events';
import { closeSync, createReadStream, createWriteStream, open as openCallback, truncateSync } from 'node:fs';
import { copyFile, readFile } from 'node:fs/promises';
import http from 'node:http';
import { join } from 'node:path';
import { PassThrough, type Readable, type Writable } from 'node:stream';
import { finished, pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { type Cargo, FILE_SIZE, type Job, makeFile, type Setting } from './cargo.js';

const openAsync = promisify(openCallback);
const MiB = 1024 * 1024;

/** For a function whose progress is told: an exception rejects its promise. */
async function move(
  from: Readable,
  to: Writable,
  setting: Setting,
  moved: () => void,
  length: number = Number.POSITIVE_INFINITY,
): Promise<void> {
  let left = length;
  await pipeline(
    from,
    async function* (chunks) {
      for await (const chunk of chunks as AsyncIterable<Buffer>) {
        moved();
        setting.hooks.onProgress();
        left -= chunk.length;
        yield chunk;
        if (left <= 0) return;
      }
    },
    to,
  );
}

/** For a stream: an exception is nobody's. */
function watched<Stream extends Readable>(stream: Stream, { hooks }: Setting, moved: () => void): Stream {
  stream.on('data', () => {
    moved();
    hooks.onEvent();
  });
  return stream;
}

const stream: Job = async (setting, moved) => {
  await pipeline(watched(createReadStream(setting.file), setting, moved), await setting.hosts.to('sink'));
};

const response: Job = async (setting, moved) => {
  const server = http.createServer((_request, answer) => {
    void pipeline(watched(createReadStream(setting.file), setting, moved), answer);
  });
  const port = await setting.hosts.listen(server);
  const request = http.get({ port, host: '127.0.0.1', agent: false });
  const [answer] = (await once(request, 'response')) as [http.IncomingMessage];
  await finished(answer.resume());
  server.close();
};

const file: Job = async (setting, moved) => {
  await move(createReadStream(setting.file), await setting.hosts.to('sink'), setting, moved);
};

const toFile: Job = async (setting, moved) => {
  await move(createReadStream(setting.file), createWriteStream(join(setting.directory, 'sent')), setting, moved);
};

const joined: Job = async (setting, moved) => {
  const [from, to] = [await setting.hosts.to('source'), await setting.hosts.to('sink')];
  await move(from, to, setting, moved, 8 * MiB);
  from.destroy();
  to.destroy();
};

const recorded: Job = async (setting, moved) => {
  const from = await setting.hosts.to('source');
  await move(from, createWriteStream(join(setting.directory, 'recorded')), setting, moved, 4 * MiB);
  from.destroy();
};

const teed: Job = async (setting, moved) => {
  const [from, to] = [await setting.hosts.to('source'), await setting.hosts.to('sink')];
  const both = new PassThrough();
  both.pipe(createWriteStream(join(setting.directory, 'teed')));
  both.pipe(to);
  await move(from, both, setting, moved, 4 * MiB);
  from.destroy();
};

const uploaded: Job = async (setting, moved) => {
  const server = http.createServer((request, answer) => {
    const to = createWriteStream(join(setting.directory, 'uploaded'));
    void pipeline(watched(request, setting, moved), to).then(() => answer.end());
  });
  const port = await setting.hosts.listen(server);
  const headers = { 'content-length': String(FILE_SIZE) };
  const request = http.request({ port, host: '127.0.0.1', method: 'PUT', agent: false, headers });
  request.end(Buffer.alloc(FILE_SIZE));
  const [answer] = (await once(request, 'response')) as [http.IncomingMessage];
  await finished(answer.resume());
  server.close();
};

const copied: Job = async (setting, moved) => {
  await copyFile(setting.file, join(setting.directory, 'copied'));
  moved();
  setting.hooks.onProgress();
};

const readWhole: Job = async (setting, moved) => {
  const path = makeFile(setting.directory, 'mapped', MiB);
  const content = readFile(path);
  const source = watched(createReadStream(path), setting, moved);
  source.once('data', () => void openAsync(path, 'r+').then((fd) => cutShort(fd, path)));
  await finished(source);
  await content;
};

function cutShort(fd: number, path: string): void {
  closeSync(fd);
  truncateSync(path, 5000);
}

async function idle({ hosts, file: path, directory }: Setting): Promise<void> {
  for (let n = 0; n < 5; n++) (await hosts.to('stalled')).pipe(await hosts.to('sink'));
  (await hosts.to('stalled')).pipe(createWriteStream(join(directory, 'unfinished')));
  for (let n = 0; n < 2; n++) createReadStream(path).once('readable', () => {});
}

export const twin: Cargo = {
  jobs: { stream, response, file, toFile, joined, recorded, teed, uploaded, copied, readWhole },
  idle,
};
