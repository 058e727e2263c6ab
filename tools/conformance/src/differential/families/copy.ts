/** A file to a file, by name: `copyFile` of file-copy against `fs.copyFile`. */
import fs, {
  chmodSync,
  constants,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import { copyFile } from '@zerocopy/file-copy';
import fc from 'fast-check';
import { compact, fileSpec, seldom } from '../arbitraries.js';
import { content, difference } from '../bytes.js';
import { codeOf } from '../journal.js';
import type { Family, Observation, Outcome, Run } from '../run.js';
import { contentOf, type FileSpec, writeFile } from '../workspace.js';

type Name = 'string' | 'buffer' | 'url';

export interface CopyProgram {
  readonly source: FileSpec | 'missing' | 'directory' | 'empty path' | 'procfs';
  readonly sourceMode?: number | undefined;
  /** It is named by a symbolic link. */
  readonly linked?: boolean | undefined;
  readonly destination:
    | { readonly size: number; readonly mode: number }
    | 'nothing'
    | 'the source'
    | 'a hard link to the source'
    | 'a symbolic link to the source'
    | 'a symbolic link to another file'
    | 'a symbolic link to nothing'
    | 'a directory'
    | 'in no directory'
    | 'below a file';
  readonly exclusive?: boolean | undefined;
  readonly names: readonly [Name, Name];
  readonly umask: number;
}

const named = (path: string, as: Name): string | Buffer | URL =>
  as === 'buffer' ? Buffer.from(path) : as === 'url' ? pathToFileURL(path) : path;

async function run(program: CopyProgram, run: Run): Promise<Observation> {
  const directory = run.workspace.scratchDirectory();
  const at = (name: string): string => join(directory, name);
  const spec = typeof program.source === 'object' ? program.source : undefined;
  let source = at('source');
  if (spec !== undefined) {
    writeFile(source, spec);
    if (program.sourceMode !== undefined) chmodSync(source, program.sourceMode);
  } else if (program.source === 'directory') mkdirSync(source);
  else if (program.source === 'procfs') source = '/proc/version';
  else if (program.source === 'empty path') source = '';
  if (program.linked === true && source !== '') {
    symlinkSync(source, at('link'));
    source = at('link');
  }
  const destination = place(program, at, source);
  const before = snapshot(directory);
  const umask = process.umask(program.umask);
  run.defer(() => process.umask(umask));

  let error: NodeJS.ErrnoException | undefined;
  let bytes: number | undefined;
  const from = named(source, source === '' ? 'string' : program.names[0]);
  const to = named(destination, program.names[1]);
  try {
    if (run.side === 'node')
      await fs.promises.copyFile(from, to, program.exclusive === true ? constants.COPYFILE_EXCL : 0);
    else
      ({ bytes } = await copyFile(from, to, program.exclusive === undefined ? {} : { exclusive: program.exclusive }));
  } catch (thrown) {
    error = thrown as NodeJS.ErrnoException;
  }
  const same = !(
    typeof program.destination === 'object' ||
    program.destination.startsWith('a symbolic link to n') ||
    program.destination.startsWith('a symbolic link to another') ||
    program.destination === 'nothing'
  );
  if (error === undefined && spec !== undefined) {
    const copied = readFileSync(destination);
    if (!copied.equals(contentOf(spec))) run.violation(`in the copy ${difference(copied, contentOf(spec))}`);
    if (bytes !== undefined && bytes !== (same ? 0 : spec.size)) run.violation(`bytes is ${bytes}, of ${spec.size}`);
    // README of file-copy: "holes stay holes". Node's are filled.
    if (run.side === 'ours' && statSync(destination).blocks > statSync(source).blocks + 16) {
      run.violation(`the copy has ${statSync(destination).blocks} blocks, the source ${statSync(source).blocks}`);
    }
  }
  return {
    violations: [],
    outcome: {
      error: error === undefined ? undefined : { code: codeOf(error), path: error.path !== undefined },
      before,
      after: snapshot(directory),
    },
  };
}

function place({ source: kind, destination }: CopyProgram, at: (name: string) => string, source: string): string {
  const path = at('destination');
  if (typeof destination === 'object') {
    fs.writeFileSync(path, content(7, destination.size));
    chmodSync(path, destination.mode);
    return path;
  }
  switch (destination) {
    case 'the source':
      return source === '' ? path : source;
    case 'a hard link to the source':
      if (typeof kind === 'object') linkSync(fs.realpathSync(source), path);
      break;
    case 'a symbolic link to the source':
      symlinkSync(source === '' ? 'nowhere' : source, path);
      break;
    case 'a symbolic link to another file':
      fs.writeFileSync(at('other'), content(9, 1000));
      symlinkSync(at('other'), path);
      break;
    case 'a symbolic link to nothing':
      symlinkSync(at('nowhere'), path);
      break;
    case 'a directory':
      mkdirSync(path);
      break;
    case 'in no directory':
      return at('nowhere/destination');
    case 'below a file':
      fs.writeFileSync(at('other'), content(9, 10));
      return at('other/destination');
    case 'nothing':
      break;
  }
  return path;
}

/** Everything in the directory, by name: kind, mode, size and a few bytes. */
function snapshot(directory: string): Record<string, string> {
  const all: Record<string, string> = {};
  for (const name of readdirSync(directory).sort()) {
    const path = join(directory, name);
    const { mode, size, nlink } = lstatSync(path);
    const file = lstatSync(path).isFile();
    all[name] =
      `${mode.toString(8)} ${nlink} ${file ? `${size} ${readFileSync(path).subarray(0, 12).toString('hex')}` : ''}`;
  }
  return all;
}

const programs: fc.Arbitrary<CopyProgram> = fc
  .record({
    source: fc.oneof(
      { weight: 8, arbitrary: fileSpec },
      {
        weight: 2,
        arbitrary: fc.constantFrom('missing', 'directory', 'empty path', 'procfs'),
      },
    ),
    sourceMode: seldom(2, fc.constantFrom(0o600, 0o444, 0o755, 0o640, 0o4755, 0o400, 0o666)),
    linked: seldom(5, fc.constant(true)),
    destination: fc.oneof(
      { weight: 3, arbitrary: fc.constant('nothing') },
      {
        weight: 3,
        arbitrary: fc.record({
          size: fc.integer({ min: 0, max: 200_000 }),
          mode: fc.constantFrom(0o644, 0o600, 0o444, 0o755),
        }),
      },
      {
        weight: 4,
        arbitrary: fc.constantFrom(
          'the source',
          'a hard link to the source',
          'a symbolic link to the source',
          'a symbolic link to another file',
          'a symbolic link to nothing',
          'a directory',
          'in no directory',
          'below a file',
        ),
      },
    ),
    exclusive: seldom(3, fc.boolean()),
    names: fc.tuple(
      fc.constantFrom('string', 'string', 'buffer', 'url'),
      fc.constantFrom('string', 'string', 'buffer', 'url'),
    ),
    umask: fc.constantFrom(0o022, 0o022, 0o077, 0o000),
  })
  .map(compact);

function reconcile({ source }: CopyProgram, node: Outcome, ours: Outcome): void {
  // libuv believes files of procfs, which say that they are empty, and copies nothing; ours are read
  // (kernel-rules: st-size-lies).
  // README of file-copy: a directory is refused before the destination is touched. libuv opens the destination first,
  // reports what is wrong with that, and else removes it: also when it was somebody's file.
  if (source === 'directory' && ours.error?.code === 'EISDIR' && isDeepStrictEqual(ours.after, ours.before)) {
    Object.assign(node, { error: ours.error, after: ours.after });
  }
  if (source === 'procfs' && node.error === null && ours.error === null) node.after = ours.after;
}

export const copy: Family<CopyProgram> = { name: 'copy', programs, run, reconcile };
