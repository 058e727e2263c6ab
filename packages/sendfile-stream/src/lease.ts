/**
 * A lease on the file for the time of its transfer, so that nobody changes it meanwhile. Where leases come from is
 * somebody else's business: an object of this shape is passed in, or, for `lease: true`, asked of @zerocopy/lease-guard.
 */
import { clearTimeout, setTimeout } from '@zerocopy/transfer';

/** What a provider hands out: a read lease, fcntl(2) F_SETLEASE F_RDLCK, or something as strong. */
export interface TransferLease {
  /** 'breaking': somebody waits for its release. 'released': by its holder, or taken away by the kernel. */
  readonly state: 'held' | 'breaking' | 'released';
  /** Somebody wants to change the file, and waits; in `deadlineMs` milliseconds the kernel takes the lease away. */
  on(event: 'break', listener: (event: { readonly deadlineMs: number }) => void): unknown;
  /** Gives it up: whoever waits goes on. Idempotent. */
  release(): Promise<void>;
}

/** Where read leases come from: @zerocopy/lease-guard exports one as `leaseProvider`. */
export interface LeaseProvider {
  /** @param fd of the open file; it stays open until the lease has been released. */
  acquire(fd: number, path: string | undefined): Promise<TransferLease>;
}

/** Whether the file may change while it is sent. */
export interface LeaseOptions {
  /**
   * Hold a read lease on the file while it is sent: `true` for that of @zerocopy/lease-guard, or a provider.
   * Fails, before a byte is sent, where the lease cannot be had (another's file, a writer). Default false.
   */
  lease?: boolean | LeaseProvider;
  /**
   * What happens when somebody wants to write. 'finish' (the default): the transfer goes on for as long as the kernel
   * lets it, less a margin, and they wait. 'fail': it ends at once. If it ends, it ends with ERR_ZEROCOPY_LEASE_BROKEN,
   * and the connection is destroyed.
   */
  leaseBreak?: 'finish' | 'fail';
}

/** The longest time that a timer of Node's takes, in milliseconds; a longer one would fire at once. */
const TIMER_MAX = 2 ** 31 - 1;
/** Milliseconds before the kernel's deadline at which the file is let go, at most. */
const MARGIN_MS = 500;

class LeaseError extends Error {
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

export const isLeaseBroken = (error: unknown): boolean =>
  error instanceof LeaseError && error.code === 'ERR_ZEROCOPY_LEASE_BROKEN';

async function defaultProvider(): Promise<LeaseProvider> {
  const name: string = '@zerocopy/lease-guard'; // not a dependency: a program that wants leases installs it
  try {
    // By require where there is one: Jest has no import() in its default mode.
    return (require('@zerocopy/lease-guard') as { leaseProvider: LeaseProvider }).leaseProvider;
  } catch {} // an ES module has no require, and what it does not find import may: that tells
  try {
    return ((await import(/* webpackIgnore: true */ /* @vite-ignore */ name)) as { leaseProvider: LeaseProvider })
      .leaseProvider;
  } catch (cause) {
    const message = `The option 'lease' needs ${name} to be installed; in a bundle, pass its leaseProvider instead of true`;
    throw new LeaseError('ERR_ZEROCOPY_LEASE_UNAVAILABLE', message, { cause });
  }
}

/** A lease that is held, and what its break leads to. */
export class LeaseHold {
  readonly #lease: TransferLease;
  #timer: NodeJS.Timeout | undefined;
  #over = false;

  private constructor(
    lease: TransferLease,
    onBreak: LeaseOptions['leaseBreak'],
    path: string | undefined,
    onBroken: (error: Error) => void,
  ) {
    this.#lease = lease;
    const broken = (): void => {
      if (this.#over) return;
      this.#over = true;
      const name = path === undefined ? 'the file' : `'${path}'`;
      onBroken(new LeaseError('ERR_ZEROCOPY_LEASE_BROKEN', `somebody wants to change ${name} while it is being sent`));
    };
    lease.on('break', ({ deadlineMs }) => {
      if (onBreak === 'fail') return broken();
      const delay = deadlineMs - Math.min(MARGIN_MS, deadlineMs / 4);
      if (delay > TIMER_MAX) return; // in some weeks, or never
      clearTimeout(this.#timer);
      this.#timer = setTimeout(broken, Math.max(0, delay)).unref();
    });
  }

  /** @param onBroken the transfer has to end with this error; {@link release} is still to be called. */
  static async acquire(
    { lease, leaseBreak }: LeaseOptions,
    fd: number,
    path: string | undefined,
    onBroken: (error: Error) => void,
  ): Promise<LeaseHold> {
    const provider = typeof lease === 'object' ? lease : await defaultProvider();
    return new LeaseHold(await provider.acquire(fd, path), leaseBreak, path, onBroken);
  }

  async release(): Promise<void> {
    this.#over = true;
    clearTimeout(this.#timer);
    await this.#lease.release();
  }
}
