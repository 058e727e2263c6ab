/** Files copied inside the kernel. */
export { type CopyFileOptions, copyFile, type Reflink } from './copy-file.js';
