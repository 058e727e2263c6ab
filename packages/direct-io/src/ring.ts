/**
 * A pair of io_uring rings, mapped: requests are written to one, and completions read from the other, without a call. It
 * knows nothing of files; a request is known by its slot, which is handed back with its completion.
 *
 * The kernel moves the head of the submissions and the tail of the completions, this class the two others. There are twice
 * as many places for completions as there are slots, so that they never overflow.
 */
import { constants, SyscallError, syscalls } from '@zerocopy/core-syscalls';
import { memoryAt } from '@zerocopy/core-syscalls/native';

const { ENOSYS, MAP_POPULATE, MAP_SHARED, PROT_READ, PROT_WRITE } = constants;
// include/uapi/linux/io_uring.h
const IORING_OFF_SQES = 0x10000000;
const IORING_OP_READ = 22;
const IORING_REGISTER_EVENTFD = 4;
/** Both rings lie in one mapping (5.4), completions are never dropped (5.5), IORING_OP_READ is there (told with 5.6). */
const FEATURES = (1 << 0) | (1 << 1) | (1 << 3);

/** Offsets in struct io_uring_params, in bytes. */
const PARAMS = { entries: 0, completions: 4, features: 20, submission: 40, completion: 80 } as const;
/** Offsets in its structs io_sqring_offsets and io_cqring_offsets. */
const OFFSETS = { head: 0, tail: 4, mask: 8, array: 24, cqes: 20 } as const;

const WORD = 4;
const SQE_SIZE = 64;
const CQE_SIZE = 16;
/** Words of a request, by the place of what is in them. */
const SQE = { operation: 0, fd: 1, offset: 2, address: 4, length: 6, slot: 8 } as const;
const TWO_32 = 2 ** 32;

interface RingPart {
  readonly address: number;
  readonly length: number;
}

function map(fd: number, length: number, offset: number): RingPart {
  const address = syscalls.mmap(null, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, offset);
  if (address < 0) throw new SyscallError(address, 'mmap');
  return { address, length };
}

/** See above. */
export class Ring {
  readonly #fd: number;
  readonly #mappings: readonly RingPart[];
  readonly #words: Int32Array;
  readonly #requests: Int32Array;
  // Indices of words: where the rings' own places, and their contents, are.
  readonly #submission: { readonly head: number; readonly tail: number; readonly mask: number };
  readonly #completion: { readonly head: number; readonly tail: number; readonly mask: number; readonly first: number };
  /** Slots: numbers from 0 on, less than this. */
  readonly size: number;

  /**
   * @param entries a power of two. @param eventfd is told of every completion.
   * @throws {SyscallError} of io_uring_setup; ENOSYS if the kernel's io_uring is too old (before 5.6). {Error} where memory
   * cannot be looked at.
   */
  constructor(entries: number, eventfd: number) {
    const told = Buffer.alloc(syscalls.IO_URING_PARAMS_SIZE);
    this.#fd = syscalls.ioUringSetup(entries, told);
    if (this.#fd < 0) throw new SyscallError(this.#fd, 'io_uring_setup');
    const mappings: RingPart[] = [];
    this.#mappings = mappings;
    try {
      const word = (offset: number): number => told.readUInt32LE(offset);
      if ((word(PARAMS.features) & FEATURES) !== FEATURES) throw new SyscallError(ENOSYS, 'io_uring_setup');
      this.size = word(PARAMS.entries);
      const places = word(PARAMS.submission + OFFSETS.array);
      const cqes = word(PARAMS.completion + OFFSETS.cqes);
      const rings = Math.max(places + this.size * WORD, cqes + word(PARAMS.completions) * CQE_SIZE);
      mappings.push(map(this.#fd, rings, 0));
      mappings.push(map(this.#fd, this.size * SQE_SIZE, IORING_OFF_SQES));
      const [words, requests] = mappings.map(({ address, length }) => new Int32Array(memoryAt(address, length)));
      this.#words = words as Int32Array;
      this.#requests = requests as Int32Array;
      const at = (offset: number): number => word(offset) / WORD;
      const [sq, cq] = [PARAMS.submission, PARAMS.completion];
      this.#submission = {
        head: at(sq + OFFSETS.head),
        tail: at(sq + OFFSETS.tail),
        mask: this.#words[at(sq + OFFSETS.mask)] as number,
      };
      this.#completion = {
        head: at(cq + OFFSETS.head),
        tail: at(cq + OFFSETS.tail),
        mask: this.#words[at(cq + OFFSETS.mask)] as number,
        first: cqes / WORD,
      };
      for (let index = 0; index < this.size; index++) this.#words[places / WORD + index] = index;
      const registered = syscalls.ioUringRegister(this.#fd, IORING_REGISTER_EVENTFD, Int32Array.of(eventfd), 1);
      if (registered < 0) throw new SyscallError(registered, 'io_uring_register');
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * Writes a request to the ring: read `length` bytes of `fd` at `position` to the memory at `address`, which has to stay
   * what it is until the completion. There is always room if no slot is used twice.
   */
  pushRead(slot: number, fd: number, address: number, length: number, position: number): void {
    const { tail, mask } = this.#submission;
    const place = this.#words[tail] as number;
    const at = ((place & mask) * SQE_SIZE) / WORD;
    const request = this.#requests;
    request.fill(0, at, at + SQE_SIZE / WORD);
    request[at + SQE.operation] = IORING_OP_READ;
    request[at + SQE.fd] = fd;
    request[at + SQE.offset] = position % TWO_32;
    request[at + SQE.offset + 1] = position / TWO_32;
    request[at + SQE.address] = address % TWO_32;
    request[at + SQE.address + 1] = address / TWO_32;
    request[at + SQE.length] = length;
    request[at + SQE.slot] = slot;
    Atomics.store(this.#words, tail, (place + 1) | 0);
  }

  /**
   * Hands what has been pushed to the kernel.
   * @returns 0: it has all of it; or a negative errno: it has only a part, see {@link takeBack}.
   */
  submit(): number {
    for (;;) {
      const left = this.#left();
      if (left === 0) return 0;
      const taken = syscalls.ioUringEnter(this.#fd, left, 0, 0);
      if (taken < 0) return taken;
      if (taken === 0) return -constants.EAGAIN;
    }
  }

  /** Takes back what the kernel has not taken. @returns the slots. */
  takeBack(): number[] {
    const { head, tail, mask } = this.#submission;
    const first = Atomics.load(this.#words, head);
    const slots = Array.from({ length: this.#left() }, (_, index) => {
      const at = (((first + index) & mask) * SQE_SIZE) / WORD;
      return this.#requests[at + SQE.slot] as number;
    });
    Atomics.store(this.#words, tail, first);
    return slots;
  }

  /**
   * Takes the next completion off the ring.
   * @param take gets its slot, which is free from then on, and the bytes or a negative errno.
   * @returns false if there is none.
   */
  completed(take: (slot: number, result: number) => void): boolean {
    const { head, tail, mask, first } = this.#completion;
    const place = this.#words[head] as number;
    if (place === Atomics.load(this.#words, tail)) return false;
    const at = first + ((place & mask) * CQE_SIZE) / WORD;
    const [slot, result] = [this.#words[at] as number, this.#words[at + 2] as number];
    Atomics.store(this.#words, head, (place + 1) | 0);
    take(slot, result);
    return true;
  }

  /** Gives the rings back to the kernel. To be called when no request is under way; nothing else may be called then. */
  close(): void {
    for (const { address, length } of this.#mappings) syscalls.munmap(address, length);
    syscalls.close(this.#fd);
  }

  #left(): number {
    const { head, tail } = this.#submission;
    return ((this.#words[tail] as number) - Atomics.load(this.#words, head)) | 0;
  }
}
