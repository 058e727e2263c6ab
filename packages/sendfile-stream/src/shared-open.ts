/** As `cachedFs`, of files that stay open from one transfer to the next: a stream over one has a descriptor of its own. */
import { nextTick } from '@zerocopy/transfer';
import { cachedFs, reopenAtOnce } from './cached-open.js';
import { openShared } from './open-file.js';

/** For the `fs` option of fs.ReadStream: a file that is kept open is opened once more by its descriptor, without a look at its path. */
export const sharedFs: typeof cachedFs = {
  ...cachedFs,
  open(path, flags, mode, callback): void {
    const shared = flags === 'r' && typeof path === 'string' ? openShared(path) : undefined;
    const fd = shared === undefined ? -1 : reopenAtOnce(shared.fd);
    shared?.release();
    if (fd < 0) cachedFs.open(path, flags, mode, callback);
    else nextTick(callback, null, fd);
  },
};
