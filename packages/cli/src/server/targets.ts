/** Where a proxy's connections go: whose turn it is, and who can be reached. */
import net, { type Socket } from 'node:net';
import { type Address, formatAddress } from './address.js';

export type TargetAddress = Exclude<Address, { kind: 'fd' }>;
export type Balance = 'round-robin' | 'least-connections';

/** One target, and what became of its connections. */
export class Target {
  readonly address: TargetAddress;
  readonly name: string;
  isUp = true;
  active = 0;
  connections = 0;
  forward = 0;
  backward = 0;
  readonly failures: Map<string, number> = new Map();

  constructor(address: TargetAddress) {
    this.address = address;
    this.name = formatAddress(address);
  }

  countFailure(code: string): void {
    this.failures.set(code, (this.failures.get(code) ?? 0) + 1);
  }

  /** Resolves with a connected socket. */
  connect(milliseconds: number): Promise<Socket> {
    const { address } = this;
    const where =
      address.kind === 'unix' ? { path: address.path } : { host: address.host ?? '127.0.0.1', port: address.port };
    return new Promise((resolve, reject) => {
      const socket = net.connect({ ...where, allowHalfOpen: true, noDelay: true });
      const timer = setTimeout(() => {
        socket.destroy(Object.assign(new Error(`${this.name} does not answer`), { code: 'ETIMEDOUT' }));
      }, milliseconds);
      socket.once('error', reject);
      socket.once('close', () => clearTimeout(timer));
      socket.once('connect', () => {
        clearTimeout(timer);
        socket.off('error', reject);
        resolve(socket);
      });
    });
  }
}

/** All of them. */
export class Targets {
  readonly all: readonly Target[];
  readonly #balance: Balance;
  readonly #connectTime: number;
  readonly #told: (line: string) => void;
  #turn = 0;

  constructor(
    addresses: readonly TargetAddress[],
    balance: Balance,
    connectTime: number,
    told: (line: string) => void,
  ) {
    this.all = addresses.map((address) => new Target(address));
    this.#balance = balance;
    this.#connectTime = connectTime;
    this.#told = told;
  }

  /** In which order they are tried for the next connection: those that are thought to be down come last. */
  order(): Target[] {
    const from = this.#turn++ % this.all.length;
    const turned = [...this.all.slice(from), ...this.all.slice(0, from)];
    if (this.#balance === 'least-connections') turned.sort((a, b) => a.active - b.active); // stable: else in turn
    return turned.sort((a, b) => Number(b.isUp) - Number(a.isUp));
  }

  /** A connection to the first that can be reached. @throws the error of the last. */
  async connect(): Promise<readonly [Target, Socket]> {
    let last: unknown;
    for (const target of this.order()) {
      try {
        const socket = await target.connect(this.#connectTime);
        this.#mark(target, true);
        return [target, socket];
      } catch (error) {
        last = error;
        this.#failed(target, error);
      }
    }
    throw last;
  }

  /** Asks each, now and every so many milliseconds. @returns what ends that. */
  watch(milliseconds: number): () => void {
    const check = (): void => {
      for (const target of this.all) {
        target.connect(Math.min(milliseconds, this.#connectTime)).then(
          (socket) => {
            socket.on('error', () => {}).destroy();
            this.#mark(target, true);
          },
          (error: unknown) => this.#failed(target, error),
        );
      }
    };
    check();
    const timer = setInterval(check, milliseconds);
    return () => clearInterval(timer);
  }

  #failed(target: Target, error: unknown): void {
    target.countFailure((error as NodeJS.ErrnoException).code ?? 'unknown');
    this.#mark(target, false);
  }

  #mark(target: Target, isUp: boolean): void {
    if (target.isUp === isUp) return;
    target.isUp = isUp;
    this.#told(`${target.name} is ${isUp ? 'up' : 'down'}`);
  }
}
