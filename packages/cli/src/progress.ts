/** A line that says how far it is, on a terminal. */
import type { SingleBar } from 'cli-progress';
import type { Terminal } from './terminal.js';
import { formatBytes } from './units.js';

/** How often it is drawn. */
const FRAMES_PER_SECOND = 10;

/** Does nothing where standard error is not a terminal. */
export class Progress {
  readonly #bar: SingleBar | undefined;
  readonly #format: (count: number) => string;
  #started = false;

  private constructor(bar: SingleBar | undefined, format: (count: number) => string) {
    this.#bar = bar;
    this.#format = format;
  }

  /** @param enabled whether it is wanted at all. @param unit what is counted. */
  static async on(terminal: Terminal, enabled: boolean, unit: 'bytes' | 'turns' = 'bytes'): Promise<Progress> {
    if (!enabled || !terminal.isWatched) return new Progress(undefined, String);
    const { SingleBar } = (await import('cli-progress')).default;
    const format = unit === 'bytes' ? formatBytes : String;
    const bar = new SingleBar({
      format: '{name} {bar} {percentage} % {done} of {size}, {eta_formatted} left',
      barCompleteChar: '#',
      barIncompleteChar: '-',
      stream: terminal.stdio.stderr as NodeJS.WritableStream,
      clearOnComplete: true,
      hideCursor: null,
      fps: FRAMES_PER_SECOND,
      barsize: 24,
    });
    return new Progress(bar, format);
  }

  /** Bytes, or turns, so far. Without a total there is nothing to draw. */
  update(name: string, bytes: number, total: number | undefined): void {
    if (this.#bar === undefined || total === undefined || total <= 0) return;
    const payload = { name, done: this.#format(bytes), size: this.#format(total) };
    if (!this.#started) this.#bar.start(total, bytes, payload);
    else if (this.#bar.getTotal() !== total) this.#bar.setTotal(total);
    this.#started = true;
    this.#bar.update(bytes, payload);
  }

  /** The line goes away. */
  stop(): void {
    if (this.#started) this.#bar?.stop();
    this.#started = false;
  }
}
