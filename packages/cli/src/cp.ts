/** `zerocopy cp`. */
import { stat } from 'node:fs/promises';
import { type Call, UsageError } from './command.js';
import { baseOf, CopyError, join, type Path, quoted } from './cp/paths.js';
import { settingsOf } from './cp/settings.js';
import { Tally } from './cp/tally.js';
import { Tree } from './cp/tree.js';
import { Progress } from './progress.js';
import type { Terminal } from './terminal.js';
import { summary } from './units.js';

/** Copies the sources. @returns 0, or 1 if one could not be copied. */
export async function run(call: Call, terminal: Terminal): Promise<number> {
  const settings = settingsOf(call);
  const pairs = await pairsOf(call);
  const tally = new Tally();
  const { signal } = terminal;
  const progress = await Progress.on(terminal, !call.has('quiet'));
  const complain = (error: unknown): void => {
    progress.stop();
    const { message } = error as Error;
    tally.errors.push(message);
    terminal.note(`${terminal.paint('red', 'zerocopy cp:', 'stderr')} ${message}`);
  };
  const tree = new Tree(
    {
      settings,
      tally,
      signal,
      warn(line) {
        progress.stop();
        terminal.note(`zerocopy cp: warning: ${line}`);
      },
      verbose: (line) => {
        progress.stop(); // its line would be in the way
        terminal.out(line);
      },
      watch: (path) => ({
        signal,
        onProgress: (bytes, total) => progress.update(baseOf(path).toString(), bytes, total),
      }),
    },
    complain,
  );
  for (const [source, destination] of pairs) {
    try {
      await tree.copy(source, destination);
    } catch (error) {
      if (signal.aborted) break;
      complain(error);
    }
  }
  progress.stop();
  tell(tally, call, terminal);
  return terminal.interrupted(tally.errors.length > 0 ? 1 : 0);
}

function tell(tally: Tally, call: Call, terminal: Terminal): void {
  const { files, directories, others, skipped, bytes, methods, method, reason, errors, startedAt } = tally;
  const milliseconds = performance.now() - startedAt;
  if (call.has('json')) {
    const counts = { files, directories, others, skipped, bytes, seconds: milliseconds / 1000 };
    const interrupted = terminal.signal.aborted;
    terminal.out(JSON.stringify({ ...counts, methods: Object.fromEntries(methods), reason, interrupted, errors }));
  } else if (!call.has('quiet')) {
    const entries = files + directories + others;
    const what = `${entries} ${entries === 1 ? 'entry' : 'entries'}${skipped > 0 ? `, ${skipped} skipped` : ''}`;
    const state = terminal.signal.aborted ? 'stopped: ' : '';
    terminal.note(summary(`zerocopy cp: ${state}${what}`, bytes, milliseconds, method, reason));
  }
}

/** Sources and the names that they get. @throws {UsageError | CopyError} */
async function pairsOf(call: Call): Promise<[Path, Path][]> {
  const names = call.operands.map((name) => Buffer.from(name));
  if (names.some((name) => name.length === 0)) throw new UsageError('an empty name');
  const into = call.value('target-directory');
  if (into !== undefined && call.has('no-target-directory')) {
    throw new UsageError('--target-directory cannot be used with --no-target-directory');
  }
  const target = into === undefined ? names.pop() : Buffer.from(into);
  if (target === undefined || names.length === 0) throw new UsageError('expected SOURCE… DESTINATION');
  if (call.has('no-target-directory')) {
    if (names.length > 1) throw new UsageError(`unexpected '${names[1]}'`);
    return [[names[0] as Path, target]];
  }
  const isDirectory = await stat(target).then(
    (found) => found.isDirectory(),
    () => false,
  );
  if (!isDirectory && (into !== undefined || names.length > 1)) {
    throw new CopyError(`target ${quoted(target)} is not a directory`);
  }
  return names.map((name) => [name, isDirectory ? join(target, placed(name)) : target]);
}

/** `cp -r .. there` and `cp -r dir/. there` put what is in the directory into `there` itself. */
function placed(name: Path): Path {
  const base = baseOf(name);
  return base.toString('latin1') === '..' ? Buffer.from('.') : base;
}
