/** For those that poll: throws when nothing has happened for too long. */
export const SILENCE_LIMIT_MS = 20_000;

export class Patience {
  #turns = 0;
  #deadline = 0;

  progressed(): void {
    this.#turns = 0;
    this.#deadline = 0;
  }

  nothing(): void {
    if (++this.#turns % 4096 !== 0) return;
    const now = performance.now();
    if (this.#deadline === 0) this.#deadline = now + SILENCE_LIMIT_MS;
    else if (now > this.#deadline) throw new Error(`nothing has passed for ${SILENCE_LIMIT_MS} ms`);
  }
}
