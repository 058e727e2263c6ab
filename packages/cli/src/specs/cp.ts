import type { CommandSpec } from '../command.js';

/** `zerocopy cp`. */
export const cpSpec: CommandSpec = {
  name: 'cp',
  summary: 'copy files by reflink, or inside the kernel, under a temporary name until they are whole',
  operands: 'SOURCE… DESTINATION',
  count: [1, Number.POSITIVE_INFINITY],
  completes: 'files',
  description: [
    'Copies as GNU cp does, and keeps what that keeps. A file shares its blocks with the source where the filesystem can (reflink), or is copied by copy_file_range or splice; holes stay holes.',
    'Each file is made in a temporary directory beside its destination and renamed when it is whole, so that nobody ever sees half of it, whatever happens. A file that exists is replaced and not written into: its other hard links keep the old content. FIFOs and devices are written to as they are.',
  ],
  options: [
    {
      name: 'recursive',
      short: 'r',
      text: 'copy directories and what is in them; links, FIFOs, sockets and devices are made anew',
    },
    { name: 'recurse', short: 'R', text: 'the same as --recursive' },
    { name: 'archive', short: 'a', text: 'the same as -d --recursive --preserve=all' },
    { name: 'no-dereference-links', short: 'd', text: 'the same as --no-dereference --preserve=links' },
    { name: 'no-dereference', short: 'P', text: 'never follow symbolic links in SOURCE; the default with --recursive' },
    {
      name: 'dereference',
      short: 'L',
      text: 'always follow symbolic links in SOURCE; the default without --recursive',
    },
    { name: 'dereference-named', short: 'H', text: 'follow symbolic links that are named on the command line' },
    { name: 'preserve-usual', short: 'p', text: 'the same as --preserve=mode,ownership,timestamps' },
    {
      name: 'preserve',
      value: 'LIST',
      implied: 'mode,ownership,timestamps',
      multiple: true,
      text: 'keep, separated by commas: mode (with access lists), ownership, timestamps, links, xattr, all. With all, extended attributes that cannot be kept are no error',
    },
    {
      name: 'reflink',
      value: 'WHEN',
      implied: 'always',
      choices: ['auto', 'always', 'never'],
      text: 'auto (default): where the filesystem can; always: or fail; never: the copy has blocks of its own',
    },
    {
      name: 'sparse',
      value: 'WHEN',
      choices: ['auto', 'always', 'never'],
      text: 'auto (default): holes stay holes; always: blocks of zeros become holes; never: the copy has none',
    },
    {
      name: 'range',
      value: 'RANGE',
      text: 'only these bytes: START-END (inclusive), START- or START+LENGTH; sizes may end in K, M, G. Holes are filled',
    },
    {
      name: 'rate',
      value: 'BYTES',
      text: 'at most so many bytes per second, such as 10M. No reflinks; holes are filled',
    },
    {
      name: 'cache',
      value: 'POLICY',
      choices: ['keep', 'drop'],
      text: 'drop: what the copy brings into the page cache leaves it again; pages that were there before stay. Default keep. Not with --range, --rate or --sparse=always',
    },
    {
      name: 'direct',
      text: 'past the page cache (O_DIRECT), or as usual where the filesystem refuses: the summary says why. No reflinks; holes are filled. Not with --cache or --sparse=always',
    },
    { name: 'fsync', text: 'write each file to the disk before it gets its name, and then its directory' },
    { name: 'force', short: 'f', text: 'replace a destination that cannot be written to' },
    { name: 'no-clobber', short: 'n', text: 'skip what exists' },
    { name: 'target-directory', short: 't', value: 'DIRECTORY', text: 'copy every SOURCE into DIRECTORY' },
    { name: 'no-target-directory', short: 'T', text: 'DESTINATION is a name, and never a directory to copy into' },
    { name: 'verbose', short: 'v', text: 'print each name as it is copied' },
    { name: 'quiet', short: 'q', text: 'no progress and no summary' },
    { name: 'json', text: 'print the summary as JSON on standard output' },
  ],
  examples: [
    ['zerocopy cp film.mkv /mnt/backup/', 'one file'],
    ['zerocopy cp -a src/ copy', 'a tree, with owners, modes, times, links and extended attributes'],
    ['zerocopy cp --reflink=always disk.img clone.img', 'a copy that takes no space, or an error'],
    ['zerocopy cp --range 1M+64K disk.img part', '64 KiB from 1 MiB on'],
    ['zerocopy cp --cache=drop backup.tar /mnt/usb/', 'and the page cache is left to the others'],
    ['zerocopy cp --rate 20M --fsync big.tar /mnt/usb/', 'slowly, and onto the disk'],
  ],
  load: () => import('../cp.js'),
};
