/** The check for doc comments, on declarations as tsc writes them. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { PENDING, undocumented } from '../documented.mjs';
import { root } from '../repository-text.mjs';

const folder = mkdtempSync(join(tmpdir(), 'zerocopy-documented-'));
test.after.always(() => rmSync(folder, { recursive: true, force: true }));

const scope = join(folder, 'node_modules', '@zerocopy');
mkdirSync(scope, { recursive: true });
mkdirSync(join(folder, 'node_modules', '@types'));
symlinkSync(join(root, 'node_modules', '@types', 'node'), join(folder, 'node_modules', '@types', 'node'));

/** A package with these declarations; the entry of each is named as the file. */
function packageOf(name, files) {
  const directory = join(scope, name);
  mkdirSync(join(directory, 'dist'), { recursive: true });
  const exports = Object.fromEntries(
    Object.keys(files).map((file) => [
      file === 'index' ? '.' : `./${file}`,
      { types: `./dist/${file}.d.ts`, default: `./dist/${file}.js` },
    ]),
  );
  writeFileSync(
    join(directory, 'package.json'),
    JSON.stringify({ name: `@zerocopy/${name}`, type: 'module', exports }),
  );
  for (const [file, text] of Object.entries(files)) {
    // As tsc writes them: each comment on a line of its own, since a comment behind another token belongs to that.
    writeFileSync(join(directory, 'dist', `${file}.d.ts`), text.replaceAll('/**', '\n/**'));
  }
  return directory;
}

test('what has no doc comment is listed, in every entry, with the members', (t) => {
  const missing = undocumented(
    packageOf('bare', {
      index: `
        /** The head of the file. */
        import type { Socket } from 'node:net';
        export declare const limits: { readonly a: 1; /** Documented. */ readonly b: 2; readonly c: { readonly d: 3 } };
        export declare function send(socket: Socket): void;
        /** */
        export declare function empty(): void;
        /** A class. */
        export declare class Thing {
          #private;
          private constructor();
          readonly bytes: number;
          get size(): number;
          set size(value: number);
          /** Of the static side. */
          static make(length: number): Thing;
          static other(): Thing;
          [Symbol.dispose](): void;
        }
        /** Made by 'new'. */
        export declare class Made { constructor(length: number); }
        /** Options. */
        export interface Options { /** In bytes. */ length: number; signal?: AbortSignal; (call: string): void; }
        /** One of two. */
        export type Outcome = { readonly kind: 'sent'; readonly bytes: number } | { readonly kind: 'lost' };
        export * as calls from './calls.js';
      `,
      calls: 'export declare function read(): number; /** It writes. */ export declare function write(): number;',
    }),
  );
  t.deepEqual(missing.sort(), [
    'Made (constructor)',
    'Options (call)',
    'Options.signal',
    'Outcome.bytes',
    'Thing.bytes',
    'Thing.other',
    'Thing.size',
    'Thing[Symbol.dispose]',
    'calls.read',
    'empty',
    'limits',
    'limits.a',
    'limits.c',
    'limits.c.d',
    'send',
  ]);
});

test('what Node or another package documents is not asked for, and tags alone are a comment', (t) => {
  packageOf('other', { index: 'export declare class Elsewhere { bytes: number; length: number }' });
  const missing = undocumented(
    packageOf('deriving', {
      index: `
        import { Readable } from 'node:stream';
        import { Elsewhere } from '@zerocopy/other';
        export { Elsewhere } from '@zerocopy/other';
        /** A documented base. */
        export interface Base { /** Begins. */ start(): void; stop(): void; }
        /** A stream. */
        export declare class Stream extends Readable { _read(size: number): void; own(): void; }
        /** A subclass. */
        export declare class Derived extends Elsewhere implements Base { bytes: number; start(): void; stop(): void; }
        /** @returns what it has counted. */
        export declare function count(): number;
      `,
    }),
  );
  t.deepEqual(missing.sort(), ['Base.stop', 'Derived.stop', 'Stream.own']);
});

test('a package that is not built is an error, and not a package without misses', (t) => {
  const directory = packageOf('unbuilt', { index: '' });
  rmSync(join(directory, 'dist'), { recursive: true });
  t.throws(() => undocumented(directory), { message: /build the package first/ });
});

test('what is pending are packages that are there', (t) => {
  const packages = readdirSync(join(root, 'packages'));
  t.deepEqual(
    PENDING.filter((name) => !packages.includes(name)),
    [],
  );
});
