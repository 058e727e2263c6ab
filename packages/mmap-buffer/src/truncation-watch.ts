/** Listeners for 'truncated' are told soon: nothing in Linux tells that a file was cut short without being asked. */
import { clearInterval, setInterval } from '@zerocopy/transfer';
import type { Mapping } from './mapping.js';

/** Milliseconds between two looks. */
const INTERVAL = 100;

const watched = new Map<Mapping, () => void>();
const told = new WeakSet<Mapping>();
let timer: NodeJS.Timeout | undefined;

function look(): void {
  for (const [mapping, tell] of [...watched]) {
    if (!mapping.closed && !mapping.truncated) continue;
    unwatchTruncation(mapping);
    if (!mapping.truncated) continue;
    told.add(mapping);
    tell();
  }
}

/** Calls `tell` once, from the event loop, when the mapping has been truncated. Does not keep the process alive. */
export function watchTruncation(mapping: Mapping, tell: () => void): void {
  if (told.has(mapping)) return;
  watched.set(mapping, tell);
  timer ??= setInterval(look, INTERVAL).unref();
}

export function unwatchTruncation(mapping: Mapping): void {
  watched.delete(mapping);
  if (watched.size > 0) return;
  clearInterval(timer);
  timer = undefined;
}
