/**
 * What is known about filesystems, by their magic number (include/uapi/linux/magic.h and the filesystems' own sources):
 * the one table of it.
 */
import { constants } from '../constants.js';
import { fstatfs, STATFS_SIZE } from '../syscalls/file.js';
import { getpagesize } from '../syscalls/memory.js';
import { STATX_SIZE, statmount, statx } from '../syscalls/statx.js';

/**
 * What kind of filesystem it is, as far as transfers are concerned.
 *
 * - `local`: on a disk of this machine. Opening and closing a file waits for that disk at most, never for a server.
 * - `memory`: its files live in memory; nothing on it can be cold, and it refuses RWF_NOWAIT.
 * - `pseudo`: the kernel invents its files as they are read; their st_size is 0, or a page for a few bytes
 *   (kernel-rules: st-size-lies).
 * - `remote`: a server, a host or a process in user space answers, and open(2), close(2) and fstat(2) may wait for it
 *   (kernel-rules: open-may-wait).
 * - `unknown`: not in the table, or stacked on others of any kind. To be treated as `remote`.
 */
export type FilesystemKind = 'local' | 'memory' | 'pseudo' | 'remote' | 'unknown';

/** What is known about one filesystem. */
export interface Filesystem {
  /** Its usual name, for instance 'ext4'; the magic number in hexadecimal where it is not known. */
  readonly name: string;
  /** Who answers for its files: this machine, its memory, the kernel, or a server. */
  readonly kind: FilesystemKind;
  /** Whether two of its files may share blocks (FICLONE). */
  readonly reflink: boolean;
}

type Row = readonly [magic: number, name: string, reflink?: 'reflink'];

const LOCAL: readonly Row[] = [
  [0xef53, 'ext4'], // and ext2, ext3
  [0x58465342, 'xfs', 'reflink'],
  [0x9123683e, 'btrfs', 'reflink'],
  [0xca451a4e, 'bcachefs', 'reflink'],
  [0x2fc12fc1, 'zfs', 'reflink'],
  [0xf2f52010, 'f2fs'],
  [0x3434, 'nilfs2'],
  [0x3153464a, 'jfs'],
  [0x52654973, 'reiserfs'],
  [0x4d44, 'vfat'],
  [0x2011bab0, 'exfat'],
  [0x7366746e, 'ntfs3'],
  [0x482b, 'hfsplus'],
  [0x9660, 'isofs'],
  [0x15013346, 'udf'],
  [0x73717368, 'squashfs'],
  [0xe0f5e1e2, 'erofs'],
  [0x28cd3d45, 'cramfs'],
  [0x72b6, 'jffs2'],
  [0x24051905, 'ubifs'],
  [0x5a4f4653, 'zonefs'],
];

const MEMORY: readonly Row[] = [
  [0x01021994, 'tmpfs'], // and devtmpfs, and memory files (memfd_create)
  [0x858458f6, 'ramfs'],
  [0x958458f6, 'hugetlbfs'],
];

const PSEUDO: readonly Row[] = [
  [0x9fa0, 'procfs'],
  [0x62656572, 'sysfs'],
  [0x64626720, 'debugfs'],
  [0x74726163, 'tracefs'],
  [0x27e0eb, 'cgroup'],
  [0x63677270, 'cgroup2'],
  [0x73636673, 'securityfs'],
  [0x62656570, 'configfs'],
  [0xcafe4a11, 'bpf'],
  [0x6165676c, 'pstore'],
  [0xde5e81e4, 'efivarfs'],
  [0xf97cff8c, 'selinuxfs'],
  [0x43415d53, 'smackfs'],
  [0x42494e4d, 'binfmt_misc'],
  [0x07655821, 'resctrl'],
  [0x19800202, 'mqueue'],
  [0x1cd1, 'devpts'],
  [0x50495045, 'pipefs'],
  [0x534f434b, 'sockfs'],
  [0x09041934, 'anon_inode'],
];

const REMOTE: readonly Row[] = [
  [0x6969, 'nfs', 'reflink'], // NFS 4.2
  [0x517b, 'smb'],
  [0xff534d42, 'cifs'],
  [0xfe534d42, 'smb'], // versions 2 and 3
  [0x65735546, 'fuse'], // and fuseblk, virtiofs
  [0x01021997, '9p'],
  [0x00c36400, 'ceph'],
  [0x5346414f, 'afs'],
  [0x6b414653, 'afs'],
  [0x73757245, 'coda'],
  [0x0187, 'autofs'],
  [0x01161970, 'gfs2'],
  [0x7461636f, 'ocfs2', 'reflink'],
  [0x0bd00bd0, 'lustre'],
  [0x47504653, 'gpfs'],
  [0x20030528, 'orangefs'],
  [0x786f4256, 'vboxsf'],
  [0xbacbacbc, 'vmhgfs'],
];

/** Stacked on others, which may be of any kind: an image layer of a container may be FUSE or NFS. */
const STACKED: readonly Row[] = [
  [0x794c7630, 'overlayfs'],
  [0xf15f, 'ecryptfs'],
];

const filesystems = (): ReadonlyMap<number, Filesystem> =>
  new Map(
    (
      [
        ['local', LOCAL],
        ['memory', MEMORY],
        ['pseudo', PSEUDO],
        ['remote', REMOTE],
        ['unknown', STACKED],
      ] as const
    ).flatMap(([kind, rows]) =>
      rows.map(([magic, name, reflink]) => [magic, { name, kind, reflink: reflink !== undefined }] as const),
    ),
  );
/** By magic number; made when it is first asked for. */
let byMagic: ReadonlyMap<number, Filesystem> | undefined;

const UNKNOWN: Filesystem = { name: 'unknown', kind: 'unknown', reflink: false };

/** The filesystem with this magic number: `f_type` of statfs(2), `type` of fs.statfs. */
export function filesystemOfMagic(magic: number): Filesystem {
  const unsigned = magic >>> 0; // some kernels answer magics above 2^31 with their sign extended
  byMagic ??= filesystems();
  return byMagic.get(unsigned) ?? { ...UNKNOWN, name: `0x${unsigned.toString(16)}` };
}

const status = Buffer.alloc(STATX_SIZE);
const statfs = Buffer.alloc(STATFS_SIZE);
/** struct mnt_id_req: u32 size, u32 unused, u64 mount id, u64 mask. */
const mountRequest = new BigUint64Array([24n, 0n, BigInt(constants.STATMOUNT_SB_BASIC)]);
/** struct statmount without its strings; the superblock's magic number is at byte 24. */
const mount = Buffer.alloc(512);

/** By the unique id of its mount, which is never used again. */
const known = new Map<number, Filesystem>();
/** Mounts; more than a process reads from, as a rule. */
const KNOWN_MAX = 256;

function askMount(id: bigint): Filesystem | undefined {
  mountRequest[1] = id;
  return statmount(mountRequest, mount, mount.length) < 0 ? undefined : filesystemOfMagic(mount.readUInt32LE(24));
}

/**
 * The filesystem that an open file is on. Where that cannot be asked its kind, and its name, is 'unknown'.
 *
 * By statmount(2), since Linux 6.8, which asks nobody but the kernel, once for each mount; before that, and for what is
 * mounted nowhere, by fstatfs(2), for which the server of a FUSE or NFS mount is asked.
 *
 * @param examined a struct statx of `fd` for which STATX_MNT_ID_UNIQUE was asked; without it the call is made here.
 */
export function filesystemOf(fd: number, examined?: Buffer): Filesystem {
  const { AT_EMPTY_PATH, AT_STATX_DONT_SYNC, STATX_MNT_ID_UNIQUE } = constants;
  const buffer = examined ?? status;
  const failed =
    examined === undefined && statx(fd, '', AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID_UNIQUE, buffer) < 0;
  if (!failed && (buffer.readUInt32LE(0) & STATX_MNT_ID_UNIQUE) !== 0) {
    const id = buffer.readUInt32LE(144) + buffer.readUInt32LE(148) * 2 ** 32;
    const before = known.get(id);
    if (before !== undefined) return before;
    const asked = askMount(BigInt(id));
    if (asked !== undefined) {
      if (known.size >= KNOWN_MAX) known.clear();
      known.set(id, asked);
      return asked;
    }
  }
  return fstatfs(fd, statfs) < 0 ? UNKNOWN : filesystemOfMagic(statfs.readUInt32LE(0));
}

/**
 * Bytes of a page of a mapping of an open file: on hugetlbfs those of its huge pages, which is what its `f_bsize` says
 * (kernel-rules: hugetlb-page); everywhere else the system's.
 */
export function mappingPageSize(fd: number): number {
  if (filesystemOf(fd).name !== 'hugetlbfs' || fstatfs(fd, statfs) < 0) return getpagesize();
  return Number(statfs.readBigUInt64LE(8));
}

/**
 * Whether opening, closing, mapping and asking for the status of an open file never waits for a server: its filesystem
 * is known to be local. Everything else is to be done on the thread pool (kernel-rules: open-may-wait).
 */
export function isLocalFilesystem({ kind }: Filesystem): boolean {
  return kind === 'local' || kind === 'memory' || kind === 'pseudo';
}
