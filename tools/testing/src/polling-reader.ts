/** A reader that never sleeps, in a process of its own: its sender never meets a full socket. */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** Connects to a port of this host and reads to the end; the process ends with status 0 then. */
export const pollingReader = (port: number): ChildProcess =>
  fork(fileURLToPath(new URL('./polling-reader.child.js', import.meta.url)), [String(port)]);
