/** The files that are served, and what uploads and echoes are made of: known to both sides by the seed alone. */
import { bytesOf } from '@zerocopy/testing/bytes';

const KiB = 1024;

/** One below, one around and one far above the sizes at which the packages change their ways. */
export const FILES: Readonly<Record<string, number>> = { small: 20 * KiB, middling: 300 * KiB, large: 3072 * KiB };

export const contentOf = (name: string, seed: number): Buffer =>
  Buffer.concat([...bytesOf(name, seed, FILES[name] as number)]);
