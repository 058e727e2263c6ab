/** Ways whose bytes end in this process's memory. */
import type { Stage } from './stage.js';
import type { Told, Way } from './way.js';

/** What brings bytes into this process's memory, or fails: of a failure none are shown, since none are counted. */
export const remembering = (
  name: string,
  work: (stage: Stage) => Promise<readonly [received: Buffer, method?: string]>,
  more: Partial<Way> = {},
): Way => ({
  name,
  background: { direct: true },
  async begin(stage) {
    let received = Buffer.alloc(0);
    stage.receiveLast(() => received);
    const over = work(stage).then(
      ([bytes, method]): readonly Told[] => {
        received = bytes as Buffer<ArrayBuffer>;
        return [{ method }];
      },
      (error: NodeJS.ErrnoException): readonly Told[] => [{ error }],
    );
    return { over };
  },
  ...more,
});

/** Where files cannot be mapped: they are read. */
export const NO_MAPPING: Partial<Way> = { background: { absent: ['mmap'], direct: true }, needs: [] };
