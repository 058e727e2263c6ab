/** Closing in a worker thread, which may be terminated at any time. */
import { libcStatus } from '../libc.js';
import { closesAtOnce } from './closes-at-once.js';
import { isMainThread } from './node-threads.js';

/**
 * Whether a file that node:fs has opened is better closed on this thread, by closeSync: in a worker, where that cannot wait.
 * When a worker is terminated, Node cancels what its thread pool has not begun, closes included, and their descriptors stay
 * open for as long as the process lives (kernel-rules: worker-close-cancelled).
 */
export const closesOnThread = (fd: number): boolean => !isMainThread() && libcStatus().available && closesAtOnce(fd);
