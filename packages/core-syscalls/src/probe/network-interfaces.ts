/**
 * Network cards: whether sendfile is free of copies down to the wire is decided by scatter-gather (the card fetches
 * the pages by DMA) together with checksum offload (the CPU need not read them). Asked by ioctl(SIOCETHTOOL),
 * netdevice(7).
 */
import { readdirSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { constants } from '../constants.js';
import { check } from '../errors.js';
import { addressOf } from '../libc.js';
import * as syscalls from '../syscalls/index.js';
import { readKernelNumber } from './kernel-file.js';

/** What a network card does by itself; read by ioctl(SIOCETHTOOL), netdevice(7). */
export interface NetworkInterface {
  /** For instance 'eth0'. */
  readonly name: string;
  /** The card gathers pages from memory by itself; undefined if it could not be asked (see `reason`). */
  readonly scatterGather: boolean | undefined;
  /** The card computes checksums of what it sends; scatter-gather is of no use without. */
  readonly checksumOffload: boolean | undefined;
  /** The card cuts large writes into segments. */
  readonly segmentationOffload: boolean | undefined;
  /** The largest packet, in bytes; undefined if the kernel does not tell. */
  readonly mtu: number | undefined;
  /** Why the card could not be asked; absent if it was. */
  readonly reason?: string;
}

// include/uapi/linux/ethtool.h
const ETHTOOL_GTXCSUM = 0x16;
const ETHTOOL_GSG = 0x18;
const ETHTOOL_GTSO = 0x1e;
// struct ifreq: 16 bytes of name, then a union of 24 that holds a pointer to struct ethtool_value { u32 cmd, data }
const IFREQ_SIZE = 40;
const IFNAMSIZ = 16;

function ask(socket: number, name: string, command: number): boolean {
  const value = new Uint32Array([command, 0]);
  const request = Buffer.alloc(IFREQ_SIZE);
  request.write(name, 0, IFNAMSIZ - 1, 'utf8');
  request.writeBigUInt64LE(BigInt(addressOf(value)), IFNAMSIZ);
  check(syscalls.ioctl(socket, constants.SIOCETHTOOL, request), 'ioctl(SIOCETHTOOL)');
  return value[1] !== 0;
}

function names(): string[] {
  const found = new Set(Object.keys(networkInterfaces()));
  try {
    for (const name of readdirSync('/sys/class/net')) found.add(name); // those without an address too
  } catch {
    // no sysfs in this container: those with an address are known all the same
  }
  return [...found].sort();
}

/** All interfaces of this network namespace, by name. Never throws. */
export function probeInterfaces(): NetworkInterface[] {
  const socket = syscalls.socket(constants.AF_INET, constants.SOCK_DGRAM | constants.SOCK_CLOEXEC, 0);
  try {
    return names().map((name) => probeInterface(socket, name));
  } finally {
    if (socket >= 0) syscalls.close(socket);
  }
}

function probeInterface(socket: number, name: string): NetworkInterface {
  const mtu = readKernelNumber(`/sys/class/net/${name}/mtu`);
  try {
    check(socket, 'socket');
    return {
      name,
      scatterGather: ask(socket, name, ETHTOOL_GSG),
      checksumOffload: ask(socket, name, ETHTOOL_GTXCSUM),
      segmentationOffload: ask(socket, name, ETHTOOL_GTSO),
      mtu,
    };
  } catch (error) {
    return {
      name,
      scatterGather: undefined,
      checksumOffload: undefined,
      segmentationOffload: undefined,
      mtu,
      reason: (error as Error).message,
    };
  }
}
