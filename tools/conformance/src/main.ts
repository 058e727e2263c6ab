/** `npm run conformance -- AREA [options]`: the long runs, each a program of its own. */
const AREAS: Readonly<Record<string, string>> = {
  faults: 'every fault at the first 20 system calls of every way: same bytes, or a clear error and the exact count',
  differential: 'random programs, ours beside those of Node: --cases N --seed N',
  networks: 'two hosts, and between them loss, delay, reordering, tiny windows, a link that goes down',
  direct:
    'direct I/O: random reads and writes beside node:fs on images of ext4, xfs, btrfs and sectors of 4096 bytes: --runs N --seed N',
  aborts: 'terminate, exit, signals and exceptions in the midst of transfers',
  security: 'reused descriptors, inheritance, limits and hostile options, for longer',
  static:
    'serve-files by the table of what is right, beside other servers; nonsense, races, aborts: --fuzz N --races N --aborts N',
  cli: "the command: start, splice-pipe's proxy through it, serve and proxy restarted under load, cp beside GNU cp, killed, on a full disk: --only ROW --minutes N --cases N --kills N",
  vite: 'an application built by Vite, with precompressed assets, served by serve-files; installs Vite by npm',
  browser: 'the tests of serve-files in Chromium, after: nx run @zerocopy/serve-files:test-build',
  'uploads-touched': 'uploads whose connections are touched at random by other code: --runs N --seed N',
  hooked: 'pipes that other code disturbs, moved by the kernel, beside those of Node: --cases N --seed N',
  programs:
    'real programs as they are, with their pipes moved by the kernel and without, compared reply by reply: --runs N NAME…',
  idle: 'idle connections of a TCP proxy, with the hook and without, and what a pair holds after --minutes N: --pairs N',
  retained: 'what a server keeps of each response: --responses N --length BYTES',
  soak: 'mixed traffic with aborts for --minutes N, and what the process holds meanwhile',
};

const [, , area = '', ...rest] = process.argv;
if (Object.hasOwn(AREAS, area)) {
  process.argv.splice(2, process.argv.length, ...rest);
  await import(`./${area}/main.js`);
} else {
  const rows = Object.entries(AREAS).map(([name, text]) => `  ${name.padEnd(14)}${text}`);
  console.log(['npm run conformance -- AREA [options]', ...rows].join('\n'));
  process.exitCode = ['', '--help'].includes(area) ? 0 : 2;
}
