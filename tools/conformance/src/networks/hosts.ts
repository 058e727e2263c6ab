/** The two hosts, seen from the laboratory between them. */
import { fileURLToPath } from 'node:url';
import { Subject } from '../asking.js';
import { forkUnshared } from './namespaces.js';

const MODULE = fileURLToPath(new URL('./host.js', import.meta.url));

/** Emits what the host tells by itself: 'middle'. */
export class Host extends Subject {
  readonly address: string;
  readonly hardwareAddress: string;

  /** @param number its place in the network, from 1. */
  private constructor(number: number) {
    super(`host ${number}`, forkUnshared(['--net'], MODULE));
    this.address = `10.77.0.${number}`;
    this.hardwareAddress = `02:00:00:00:00:0${number}`;
  }

  static async start(number: number): Promise<Host> {
    const host = new Host(number);
    await host.ask('greet'); // from then on it is in its namespace
    return host;
  }
}
