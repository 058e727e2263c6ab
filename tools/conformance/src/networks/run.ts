/** A run from outside: the laboratory is started in namespaces of its own, and listened to. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { forkUnshared, namespacesPermitted } from './namespaces.js';
import type { Options, Report, Row, Told } from './report.js';

const MODULE = fileURLToPath(new URL('./laboratory.js', import.meta.url));

export interface Listener {
  onLink?(kind: string, congestionControl: string): void;
  onRow?(row: Row): void;
  signal?: AbortSignal;
}

/** @throws where namespaces are not permitted; ask {@link namespacesPermitted} first. */
export async function runNetworks(options: Options, { onLink, onRow, signal }: Listener = {}): Promise<Report> {
  const permission = namespacesPermitted();
  if (!permission.permitted) throw new Error(permission.reason);
  const directory = mkdtempSync(join(tmpdir(), 'zerocopy-networks-'));
  const remove = (): void => rmSync(directory, { recursive: true, force: true });
  process.once('exit', remove);
  const child = forkUnshared(permission.unshare, MODULE, [directory, JSON.stringify(options)]);
  const stop = (): void => {
    if (child.connected) child.disconnect();
  };
  signal?.addEventListener('abort', stop);
  const rows: Row[] = [];
  let link = '';
  let failure: string | undefined;
  child.on('message', (told: Told) => {
    if ('row' in told) {
      rows.push(told.row);
      onRow?.(told.row);
    } else if ('failure' in told) failure = told.failure;
    else {
      link = told.link;
      onLink?.(told.link, told.congestionControl);
    }
  });
  // What it tells last may come after the news of its end.
  const [[code, killedBy]] = (await Promise.all([once(child, 'exit'), once(child, 'disconnect')])) as [
    [number | null, NodeJS.Signals | null],
    unknown,
  ];
  signal?.removeEventListener('abort', stop);
  process.off('exit', remove);
  remove();
  if (failure !== undefined) throw new Error(failure);
  if (code !== 0 || signal?.aborted) throw new Error(`the laboratory has ended early (${killedBy ?? code})`);
  return { link, rows };
}
