/** Every package, and every other entry. */
import '@zerocopy/core-syscalls/descriptors';
import '@zerocopy/core-syscalls/native';
import '@zerocopy/file-copy';
import '@zerocopy/mmap-buffer';
import '@zerocopy/pipeline/promises';
import '@zerocopy/pipeline/register';
import '@zerocopy/serve-files';
import '@zerocopy/splice-pipe';
