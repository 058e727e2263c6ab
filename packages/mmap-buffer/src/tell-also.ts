/** What goes wrong while something is being put right. */

/** Adds to the message of `error`, which is what is told, that undoing has failed as well: what that means, and its code. */
export function tellAlso(error: unknown, meaning: string): (second: unknown) => void {
  return (second) => {
    (error as Error).message += `; ${meaning} (${(second as NodeJS.ErrnoException).code})`;
  };
}
