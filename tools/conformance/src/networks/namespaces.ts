/**
 * A process in namespaces of its own, and what it starts. They are anonymous: nothing refers to them but the processes in
 * them, so that the kernel removes them, with every device, when the last of those has ended, however it has.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';

export type Permission =
  | { readonly permitted: true; readonly unshare: readonly string[] }
  | { readonly permitted: false; readonly reason: string };

/** A network of its own: as root, and as a user who becomes root in a user namespace. */
const WAYS: readonly (readonly string[])[] = [['--net'], ['--user', '--map-root-user', '--net']];
const TRIAL = ['ip', 'link', 'add', 'trial0', 'type', 'veth', 'peer', 'name', 'trial1'];

let permission: Permission | undefined;

/** Whether network namespaces with devices in them can be made here: tried, not guessed. */
export function namespacesPermitted(): Permission {
  permission ??= tryWays();
  return permission;
}

function tryWays(): Permission {
  const missing = ['unshare', 'ip'].filter((command) => spawnSync(command, ['-V']).error !== undefined);
  if (missing.length > 0) return { permitted: false, reason: `${missing.join(' and ')} cannot be found` };
  let reason = '';
  for (const unshare of WAYS) {
    const { status, stderr } = spawnSync('unshare', [...unshare, ...TRIAL], { encoding: 'utf8' });
    if (status === 0) return { permitted: true, unshare };
    reason = stderr.trim().split('\n')[0] ?? '';
  }
  return { permitted: false, reason: `namespaces are not permitted (${reason})` };
}

/** Starts a module of ours behind `unshare`, with a channel to it. It has to end when that is disconnected. */
export function forkUnshared(unshare: readonly string[], module: string, args: readonly string[] = []): ChildProcess {
  return spawn('unshare', [...unshare, '--', process.execPath, '--expose-gc', module, ...args], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
}
