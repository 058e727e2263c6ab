/** Every kind of transfer, and each descriptor of it that can be taken away. */
import { once } from 'node:events';
import {
  closeSync,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import net, { type AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';
import { constants, descriptorOf, type FeatureName, feature, syscalls } from '@zerocopy/core-syscalls';
import { copyFile } from '@zerocopy/file-copy';
import { acquireLease } from '@zerocopy/lease-guard';
import { createMmapReadStream, mapFile } from '@zerocopy/mmap-buffer';
import { createSendfileStream, sendFile } from '@zerocopy/sendfile-stream';
import {
  createSpliceReadStream,
  createSpliceWriteStream,
  proxy,
  type SpliceDestination,
  type SpliceSource,
  splice,
  tee,
} from '@zerocopy/splice-pipe';
import { canaryByteIn, innocent } from './canaries.js';
import type { Mark, Theft } from './theft.js';

const MiB = 1024 * 1024;
const CONTENT = innocent(MiB + 1234);
const { AF_UNIX, O_CLOEXEC, O_NONBLOCK, POSIX_FADV_DONTNEED, SOCK_CLOEXEC, SOCK_STREAM, SOL_SOCKET } = constants;
const SO_SNDBUF = 7;
const SMALL_BUFFER = 128 * 1024;

/** What is put together for one run; {@link Scene.mark} makes a mark of it. */
class Scene {
  readonly directory: string;
  readonly fds: number[] = [];
  readonly #receivers: { goOn(): void; arrived(): number; bytes(): Buffer }[] = [];
  readonly #disposals: (() => unknown)[] = [];
  #names = 0;

  constructor(directory: string) {
    this.directory = directory;
  }

  path(): string {
    return join(this.directory, `file-${this.#names++}`);
  }

  onDispose(disposal: () => unknown): void {
    this.#disposals.push(disposal);
  }

  /** A file with the content. Cold: not in the page cache. */
  source(temperature: 'warm' | 'cold' = 'warm'): string {
    const path = this.path();
    writeFileSync(path, CONTENT, { flush: temperature === 'cold' }); // what is dirty stays in memory
    if (temperature === 'cold') {
      const fd = openSync(path, 'r');
      syscalls.posixFadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
      closeSync(fd);
    }
    return path;
  }

  /** A number for the source, for the caller to lend. */
  lend(path: string, flags: 'r' | 'w'): number {
    const fd = openSync(path, flags);
    this.fds.push(fd);
    return fd;
  }

  /** Numbers of the sockets. */
  watch(...sockets: Socket[]): void {
    for (const socket of sockets) this.fds.push(descriptorOf(socket) as number);
  }

  /** A connected pair. What arrives at the second is kept, once it may. */
  async pair(kind: 'tcp' | 'unix' = 'unix'): Promise<{ near: Socket; far: Socket }> {
    const listener = net.createServer({ allowHalfOpen: true, pauseOnConnect: true });
    if (kind === 'tcp') listener.listen(0, '127.0.0.1');
    else listener.listen(this.path());
    await once(listener, 'listening');
    const address = listener.address() as AddressInfo | string;
    const accepted = once(listener, 'connection') as Promise<[Socket]>;
    const far = net.connect(
      typeof address === 'string'
        ? { path: address, allowHalfOpen: true }
        : { port: address.port, host: '127.0.0.1', allowHalfOpen: true },
    );
    const [[near]] = await Promise.all([accepted, once(far, 'connect')]);
    listener.close();
    for (const socket of [near, far]) {
      socket.on('error', () => {});
      socket.pause();
      if (kind === 'tcp') syscalls.setsockopt(descriptorOf(socket) as number, SOL_SOCKET, SO_SNDBUF, SMALL_BUFFER);
      this.onDispose(() => gone(socket));
    }
    return { near, far };
  }

  /** The content goes out on it, and then the end. */
  feed(socket: Socket): Socket {
    socket.end(CONTENT);
    return socket;
  }

  /** Kept waiting until the numbers have changed hands. */
  receive(socket: Socket): void {
    const chunks: Buffer[] = [];
    let going = false;
    this.#receivers.push({
      goOn() {
        if (going) return;
        going = true;
        socket.on('data', (chunk: Buffer) => chunks.push(chunk));
        socket.resume();
      },
      arrived: () => (going ? chunks.length : socket.readableLength),
      bytes: () => Buffer.concat(chunks),
    });
  }

  receiveFile(path: string): void {
    this.#receivers.push({
      goOn() {},
      arrived: () => statSync(path, { throwIfNoEntry: false })?.size ?? 0,
      bytes: () => readFileSync(path),
    });
  }

  /** Both ends of a pipe: the read end as a number to lend, the write end as a stream, or the other way round. */
  pipe(lent: 'read' | 'write'): { fd: number; stream: Socket } {
    const ends = new Int32Array(2);
    if (syscalls.pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) throw new Error('pipe2');
    const [read, write] = ends as unknown as [number, number];
    const [fd, other] = lent === 'read' ? [read, write] : [write, read];
    return { fd: this.#lendRaw(fd), stream: this.#streamOver(other, lent === 'write') };
  }

  /** Connected unix sockets: one as a number to lend. */
  socketNumber(): { fd: number; stream: Socket } {
    const ends = new Int32Array(2);
    if (syscalls.socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) throw new Error('socketpair');
    const [fd, other] = ends as unknown as [number, number];
    return { fd: this.#lendRaw(fd), stream: this.#streamOver(other, true) };
  }

  #lendRaw(fd: number): number {
    this.fds.push(fd);
    return fd;
  }

  #streamOver(fd: number, readable: boolean): Socket {
    const stream = new Socket({ fd, readable, writable: true, allowHalfOpen: true });
    stream.pause();
    stream.on('error', () => {});
    this.onDispose(() => gone(stream));
    return stream;
  }

  /** @param steal what is done; default: the numbers are closed. @param moving default: when bytes have arrived. */
  mark(transfer: Promise<unknown>, { steal, moving }: { steal?: () => void; moving?: () => boolean } = {}): Mark {
    let over = false;
    return {
      fds: this.fds,
      steal() {
        if (steal !== undefined) steal();
        else for (const fd of this.fds) closeSync(fd);
      },
      moving: () => over || (moving?.() ?? this.#receivers.some((receiver) => receiver.arrived() > 0)),
      goOn: () => {
        for (const receiver of this.#receivers) receiver.goOn();
      },
      over: transfer.then(
        () => {
          over = true;
          return undefined;
        },
        (error: unknown) => {
          over = true;
          return error;
        },
      ),
      complaint: (whole = false) => {
        for (const receiver of this.#receivers) {
          const bytes = receiver.bytes();
          const canary = canaryByteIn(bytes);
          if (canary >= 0) return `at byte ${canary} of what has arrived is somebody else's`;
          if (!bytes.equals(CONTENT.subarray(0, bytes.length))) return 'what has arrived is not what was sent';
          if (whole && bytes.length < CONTENT.length) return `only ${bytes.length} bytes have arrived`;
        }
        return undefined;
      },
      dispose: async () => {
        await Promise.all(this.#disposals.map((disposal) => disposal()));
      },
    };
  }
}

async function gone(socket: Socket): Promise<void> {
  if (socket.closed) return;
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.destroy();
  await closed;
}

/** The descriptors that are open on a file. */
function numbersOf(path: string): number[] {
  return readdirSync('/proc/self/fd')
    .map(Number)
    .filter((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`) === path;
      } catch {
        return false; // that of the listing itself
      }
    });
}

const ended = (stream: NodeJS.EventEmitter): Promise<unknown> =>
  new Promise((resolve) => {
    stream.on('error', () => {});
    stream.once('close', resolve);
  });

const thefts: Theft[] = [];
const theft = (name: string, begin: (scene: Scene) => Promise<Mark>, ...needs: readonly FeatureName[]): void => {
  const missing = needs.find((need) => !feature(need).available);
  const skipped = missing === undefined ? undefined : `${missing}: ${feature(missing).reason}`;
  thefts.push({ name, skipped, begin: (directory) => begin(new Scene(directory)) });
};
const never = { smallFileSize: 0 } as const;

// Files to sockets and files, by sendfile-stream.

for (const temperature of ['warm', 'cold'] as const) {
  for (const kind of ['tcp', 'unix'] as const) {
    theft(`sendFile from a number, ${temperature}, to a ${kind} socket`, async (scene) => {
      const { near, far } = await scene.pair(kind);
      scene.receive(far);
      const fd = scene.lend(scene.source(temperature), 'r');
      return scene.mark(sendFile(near, fd), { moving: () => near.bytesWritten > 0 });
    });
  }

  theft(`sendFile from a FileHandle, ${temperature}`, async (scene) => {
    const { near, far } = await scene.pair();
    scene.receive(far);
    const handle = await open(scene.source(temperature));
    scene.fds.push(handle.fd);
    let closed: Promise<void> | undefined;
    scene.onDispose(() => closed);
    const steal = (): void => {
      closed = handle.close();
    };
    return scene.mark(sendFile(near, handle), { steal, moving: () => near.bytesWritten > 0 });
  });

  theft(`sendFile, ${temperature}, whose socket is destroyed`, async (scene) => {
    const { near, far } = await scene.pair();
    scene.receive(far);
    scene.watch(near);
    const transfer = sendFile(near, scene.source(temperature));
    return scene.mark(transfer, { steal: () => near.destroy(), moving: () => near.bytesWritten > 0 });
  });

  theft(`sendFile to a number of a file, ${temperature}`, async (scene) => {
    const path = scene.path();
    const source = scene.source(temperature);
    const fd = scene.lend(path, 'w');
    scene.receiveFile(path);
    return scene.mark(sendFile(fd, source));
  });

  theft(`sendFile from a number to a number of a file, ${temperature}`, async (scene) => {
    const path = scene.path();
    const from = scene.lend(scene.source(temperature), 'r');
    const to = scene.lend(path, 'w');
    scene.receiveFile(path);
    return scene.mark(sendFile(to, from));
  });

  theft(
    `createSendfileStream over a number, ${temperature}`,
    async (scene) => {
      const { near, far } = await scene.pair();
      scene.receive(far);
      const fd = scene.lend(scene.source(temperature), 'r');
      const stream = createSendfileStream('', { fd, autoClose: false, ...never });
      // Its own file is not closed, so that nobody closes what has the number now.
      const over = new Promise((resolve) => {
        for (const event of ['end', 'error'] as const) stream.once(event, resolve);
      });
      stream.pipe(near);
      await new Promise((resolve) => setImmediate(resolve)); // until then it is an fs.ReadStream, and knows the number alone
      return scene.mark(over, { moving: () => near.bytesWritten > 0 });
    },
    'sendfile',
  );

  theft(`createSendfileStream, ${temperature}, which is destroyed`, async (scene) => {
    const { near, far } = await scene.pair();
    scene.receive(far);
    const stream = createSendfileStream(scene.source(temperature), never);
    const over = ended(stream);
    await once(stream, 'ready');
    scene.fds.push(stream.fd as number);
    stream.pipe(near);
    return scene.mark(over, { steal: () => stream.destroy(), moving: () => near.bytesWritten > 0 });
  });

  theft(`createSendfileStream, ${temperature}, whose socket is destroyed`, async (scene) => {
    const { near, far } = await scene.pair();
    scene.receive(far);
    scene.watch(near);
    const stream = createSendfileStream(scene.source(temperature), never);
    const over = ended(near);
    stream.on('error', () => {});
    scene.onDispose(() => {
      stream.destroy();
      return stream.closed ? undefined : once(stream, 'close');
    });
    stream.pipe(near);
    return scene.mark(over, { steal: () => near.destroy(), moving: () => near.bytesWritten > 0 });
  });
}

theft('sendFile to a number of a socket', async (scene) => {
  const { fd, stream } = scene.socketNumber();
  scene.receive(stream);
  return scene.mark(sendFile(fd, scene.source()), { moving: () => waiting(stream) });
});

theft('sendFile to a number of a socket, under a lease', async (scene) => {
  const { fd, stream } = scene.socketNumber();
  scene.receive(stream);
  const lease = feature('lease').available;
  return scene.mark(sendFile(fd, scene.source(), { lease }), { moving: () => waiting(stream) });
});

/** Whether there is something to read at the other end. */
function waiting(stream: Socket): boolean {
  const held = new Int32Array(1);
  const fd = descriptorOf(stream);
  return fd === null || (syscalls.ioctl(fd, constants.FIONREAD, held) >= 0 && held[0] !== 0);
}

// Between sockets, pipes and files, by splice-pipe.

type Place<End> = (scene: Scene) => Promise<{ end: End; steal?: () => void }>;

const sources: Readonly<Record<string, Place<SpliceSource>>> = {
  'a socket': async (scene) => {
    const { near, far } = await scene.pair();
    scene.watch(near);
    scene.feed(far);
    return { end: near, steal: () => near.destroy() };
  },
  'a number of a socket': async (scene) => {
    const { fd, stream } = scene.socketNumber();
    scene.feed(stream);
    return { end: fd };
  },
  'a number of a pipe': async (scene) => {
    const { fd, stream } = scene.pipe('read');
    scene.feed(stream);
    return { end: fd };
  },
  'a number of a file': async (scene) => ({ end: scene.lend(scene.source(), 'r') }),
  'a number of a cold file': async (scene) => ({ end: scene.lend(scene.source('cold'), 'r') }),
};

const destinations: Readonly<Record<string, Place<SpliceDestination> & { moving?: never }>> = {
  'a socket': async (scene) => {
    const { near, far } = await scene.pair();
    scene.watch(near);
    scene.receive(far);
    return { end: near, steal: () => near.destroy() };
  },
  'a number of a socket': async (scene) => {
    const { fd, stream } = scene.socketNumber();
    scene.receive(stream);
    return { end: fd };
  },
  'a number of a pipe': async (scene) => {
    const { fd, stream } = scene.pipe('write');
    scene.receive(stream);
    return { end: fd };
  },
  'a number of a file': async (scene) => {
    const path = scene.path();
    const fd = scene.lend(path, 'w');
    scene.receiveFile(path);
    return { end: fd };
  },
  'a FileHandle': async (scene) => {
    const path = scene.path();
    const handle = await open(path, 'w');
    scene.fds.push(handle.fd);
    scene.receiveFile(path);
    let closed: Promise<void> | undefined;
    scene.onDispose(() => closed);
    const steal = (): void => {
      closed = handle.close();
    };
    return { end: handle, steal };
  },
};

/** Takes everything away that an end has brought: by its own way, or the numbers that have been lent since `from`. */
function taking(scene: Scene, ends: readonly { end: unknown; steal?: () => void }[]): () => void {
  return () => {
    for (const { end, steal } of ends) {
      if (steal !== undefined) steal();
      else if (typeof end === 'number' && scene.fds.includes(end)) closeSync(end);
    }
  };
}

for (const [fromName, from] of Object.entries(sources)) {
  for (const [toName, to] of Object.entries(destinations)) {
    theft(`splice from ${fromName} to ${toName}`, async (scene) => {
      const source = await from(scene);
      const destination = await to(scene);
      let moved = 0;
      const onProgress = (bytes: number): void => {
        moved = bytes;
      };
      const transfer = splice(source.end, destination.end, { onProgress });
      return scene.mark(transfer, { steal: taking(scene, [source, destination]), moving: () => moved > 0 });
    });
  }
}

for (const stolen of ['source', 'socket', 'file'] as const) {
  theft(`tee to a socket and a file, whose ${stolen} is taken away`, async (scene) => {
    const source = await (sources['a socket'] as Place<Socket>)(scene);
    const socket = await (destinations['a socket'] as Place<Socket>)(scene);
    const file = await (destinations['a number of a file'] as Place<number>)(scene);
    let moved = 0;
    const onProgress = (bytes: number): void => {
      moved = bytes;
    };
    const transfer = tee(source.end, [socket.end, file.end], { onProgress });
    scene.onDispose(() => stolen !== 'file' && closeSync(file.end));
    const victims = stolen === 'source' ? [source] : stolen === 'socket' ? [socket] : [file];
    return scene.mark(transfer, { steal: taking(scene, victims), moving: () => moved > 0 });
  });
}

for (const which of ['a', 'b'] as const) {
  theft(`proxy, whose ${which} is destroyed`, async (scene) => {
    const [a, b] = [await scene.pair('tcp'), await scene.pair('tcp')];
    scene.feed(a.far);
    scene.feed(b.far);
    scene.receive(a.far);
    scene.receive(b.far);
    const victim = which === 'a' ? a.near : b.near;
    scene.watch(victim);
    const transfer = proxy(a.near, b.near);
    return scene.mark(transfer, { steal: () => victim.destroy(), moving: () => b.near.bytesWritten > 0 });
  });
}

for (const stolen of ['stream', 'source', 'destination'] as const) {
  theft(`createSpliceReadStream, whose ${stolen} is destroyed`, async (scene) => {
    const [from, to] = [await scene.pair(), await scene.pair()];
    scene.feed(from.far);
    scene.receive(to.far);
    scene.watch(from.near, to.near);
    const stream = createSpliceReadStream(from.near);
    stream.on('error', () => {});
    stream.pipe(to.near);
    const victim = stolen === 'stream' ? stream : stolen === 'source' ? from.near : to.near;
    const over = ended(victim);
    return scene.mark(over, { steal: () => victim.destroy(), moving: () => to.near.bytesWritten > 0 });
  });
}

for (const stolen of ['number', 'stream', 'source'] as const) {
  theft(
    `createSpliceWriteStream, whose ${stolen} is taken away`,
    async (scene) => {
      const { near, far } = await scene.pair();
      scene.feed(far);
      const path = scene.path();
      scene.receiveFile(path);
      const lent = stolen === 'number' ? scene.lend(path, 'w') : undefined;
      const stream = createSpliceWriteStream(path, lent === undefined ? {} : { fd: lent, autoClose: false });
      stream.on('error', () => {});
      if (lent === undefined) {
        await once(stream, 'open');
        scene.fds.push(stream.fd as number);
        if (stolen === 'source') scene.watch(near);
      }
      const over = Promise.race([once(stream, 'close'), once(stream, 'finish'), once(near, 'close')]).catch(() => {});
      scene.onDispose(() => {
        if (lent !== undefined || stream.closed) return undefined;
        stream.destroy();
        return once(stream, 'close');
      });
      near.pipe(stream);
      if (lent !== undefined) await new Promise((resolve) => setImmediate(resolve)); // until then it is an fs.WriteStream
      const victim = stolen === 'stream' ? stream : near;
      const steal = stolen === 'number' ? undefined : () => void victim.destroy();
      return scene.mark(over, { ...(steal && { steal }), moving: () => stream.bytesWritten > 0 });
    },
    ...(stolen === 'number' ? (['splice'] as const) : []),
  );
}

// Whole files, and files in memory.

theft('copyFile, aborted', async (scene) => {
  const [from, to] = [scene.source('cold'), scene.path()];
  const controller = new AbortController();
  const transfer = copyFile(from, to, { reflink: 'never', signal: controller.signal });
  const moving = (): boolean => {
    if (scene.fds.length === 0) scene.fds.push(...numbersOf(from), ...numbersOf(to));
    return numbersOf(to).length > 0;
  };
  return scene.mark(transfer, { steal: () => controller.abort(), moving });
});

for (const how of ['number', 'handle'] as const) {
  theft(
    `createMmapReadStream over a ${how}`,
    async (scene) => {
      const path = scene.source();
      const chunks: Buffer[] = [];
      let handle: FileHandle | undefined;
      if (how === 'handle') {
        handle = await open(path);
        scene.fds.push(handle.fd);
      }
      const fd = handle ?? scene.lend(path, 'r');
      const stream = createMmapReadStream('', { fd, start: 0, autoClose: false, highWaterMark: 64 * 1024 });
      stream.on('error', () => {});
      const over = new Promise((resolve) => {
        for (const event of ['end', 'error', 'close'] as const) stream.once(event, resolve);
      });
      stream.on('data', (chunk) => chunks.push(chunk as Buffer));
      await once(stream, 'data');
      stream.pause();
      const mark = scene.mark(over, { moving: () => true });
      let closed: Promise<void> | undefined;
      scene.onDispose(() => closed);
      return {
        ...mark,
        steal() {
          if (handle === undefined) mark.steal();
          else closed = handle.close();
          stream.resume();
        },
        complaint() {
          const bytes = Buffer.concat(chunks);
          return bytes.equals(CONTENT.subarray(0, bytes.length)) ? undefined : 'the stream has read another file';
        },
      };
    },
    'mmap',
    'sigbusTrap',
  );
}

theft(
  'mapFile, closed while it is being resized and flushed',
  async (scene) => {
    const path = scene.source();
    const mapped = await mapFile(path, { access: 'write' });
    scene.fds.push(...numbersOf(path));
    const transfer = Promise.allSettled([mapped.flushAsync(), mapped.resize(2 * MiB), mapped.flushAsync()]);
    return scene.mark(transfer, { steal: () => void mapped.close(), moving: () => true });
  },
  'mmap',
);

theft(
  'a lease on a number, whose number gets another lease',
  async (scene) => {
    const path = scene.source();
    const fd = scene.lend(path, 'r');
    const lease = await acquireLease(fd, 'read');
    const mark = scene.mark(Promise.resolve(), { moving: () => true });
    let complaint: string | undefined;
    return {
      ...mark,
      steal() {},
      async dispose() {
        await mark.dispose();
      },
      complaint: () => complaint,
      fds: [fd],
      over: (async () => {
        closeSync(fd);
        const other = openSync(scene.source(), 'r');
        const second = await acquireLease(other, 'read');
        if (other !== fd) complaint = 'the number was not used again';
        await lease.release();
        if (syscalls.fcntl(other, constants.F_GETLEASE) !== constants.F_RDLCK)
          complaint = "another's lease was given up";
        if (second.state !== 'held') complaint = "another's lease says that it has been given up";
        await second.release();
        if (fstatSync(other).size !== CONTENT.length) complaint = 'the file has changed';
        closeSync(other);
      })(),
    };
  },
  'lease',
);

export const allThefts: readonly Theft[] = thefts;
