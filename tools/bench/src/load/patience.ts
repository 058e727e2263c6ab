/** For those that poll: throws when nothing has happened for too long. */
export const SILENCE_LIMIT_MS = 20_000;
/** What one look at the clock counts for at most, in milliseconds: a machine that stood still meanwhile has been silent for nobody. */
const LOOK_LIMIT_MS = 250;

export class Patience {
  #turns = 0;
  #lookedAt = 0;
  #silence = 0;

  progressed(): void {
    this.#turns = 0;
    this.#lookedAt = 0;
    this.#silence = 0;
  }

  nothing(): void {
    if (++this.#turns % 4096 !== 0) return;
    const now = performance.now();
    if (this.#lookedAt > 0) this.#silence += Math.min(now - this.#lookedAt, LOOK_LIMIT_MS);
    this.#lookedAt = now;
    if (this.#silence > SILENCE_LIMIT_MS) throw new Error(`nothing has passed for ${SILENCE_LIMIT_MS} ms`);
  }
}
