#!/usr/bin/env node
import { PARTLY } from './command.js';
/** The program. The first SIGINT, SIGTERM or SIGHUP asks the command to stop, the second ends it at once. */
import { Interruption, run, SIGNALS } from './index.js';
import { DRAIN } from './server/drain-message.js';

/** Milliseconds for which a command that was stopped waits for those who read what it has written. */
const READERS_TIME = 1000;

const controller = new AbortController();
for (const name of SIGNALS) {
  process.on(name, () => {
    const reason = new Interruption(name);
    if (controller.signal.aborted) process.exit(reason.status);
    controller.abort(reason);
  });
}
// Of a worker: its primary asks by a message, since a signal may reach all processes of a terminal as well.
process.on('message', (message) => {
  if (message === DRAIN && !controller.signal.aborted) controller.abort(new Interruption('SIGTERM'));
});
const { stdout, stderr, env } = process;
let isUnwritten = false;
for (const stream of [stdout, stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE' || isUnwritten) return; // a reader that has gone away (`probe | head -1`) is no failure
    isUnwritten = true;
    if (stream === stdout) stderr.write(`zerocopy: standard output: ${error.message}\n`);
  });
}
void run(process.argv.slice(2), {
  get stdin() {
    return process.stdin; // made on its first use
  },
  stdout,
  stderr,
  env,
  signal: controller.signal,
}).then((status) => {
  process.exitCode = status;
  process.once('exit', (code) => {
    const isDone = status === 0 || status === PARTLY;
    // Node has a worker exit with status 0 as soon as it is disconnected. And an error of a stream comes late.
    if (code === 0 || code === status) process.exitCode = isUnwritten && isDone ? 1 : status;
  });
  if (process.connected) process.disconnect();
  // The user who has stopped it need not wait for a reader of standard output that does not read.
  if (controller.signal.aborted) setTimeout(() => process.exit(), READERS_TIME).unref();
});
