/**
 * Children never inherit descriptors or blocked signals, whatever is under way when they are started
 * (kernel-rules: realtime-signal).
 */
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test from 'ava';

const run = promisify(execFile);
const here = dirname(fileURLToPath(import.meta.url));

(existsSync('/proc/self/fd') ? test : test.skip)(
  `a child has what was passed to it, and nothing else${existsSync('/proc/self/fd') ? '' : ' (needs /proc)'}`,
  async (t) => {
    const { stdout } = await run(process.execPath, [join(here, 'fixtures', 'inheritance.js')]);
    const { children, complaints } = JSON.parse(stdout) as { children: number; complaints: string[] };
    t.deepEqual(complaints, []);
    t.true(children >= 4);
  },
);

/** Calls that make a descriptor, and what has to be there for it not to be inherited. */
const MAKERS: readonly (readonly [RegExp, RegExp])[] = [
  [/syscalls\.pipe2\(/, /O_CLOEXEC/],
  [/syscalls\.memfdCreate\(/, /MFD_CLOEXEC|\bflags\b/],
  [/syscalls\.socket(pair)?\(/, /SOCK_CLOEXEC/],
  [/syscalls\.openat2\(/, /O_CLOEXEC|FLAGS/],
  [/F_DUPFD\b/, /^never$/],
];

test('in the sources: each call that makes a descriptor says that it is not to be inherited', (t) => {
  const packages = join(here, '..', '..', '..', 'packages');
  let found = 0;
  for (const name of readdirSync(packages)) {
    const source = join(packages, name, 'src');
    if (!existsSync(source)) continue;
    for (const file of readdirSync(source, { recursive: true, encoding: 'utf8' })) {
      if (!file.endsWith('.ts') || file.endsWith('constants.ts')) continue;
      for (const line of readFileSync(join(source, file), 'utf8').split('\n')) {
        for (const [maker, needed] of MAKERS) {
          if (!maker.test(line)) continue;
          found++;
          t.regex(line, needed, `${name}/src/${file}: ${line.trim()}`);
        }
      }
    }
  }
  t.true(found >= 6);
});
