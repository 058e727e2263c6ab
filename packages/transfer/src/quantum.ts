/**
 * Fairness: how much one transfer moves before the others, and the rest of the event loop, get their turn
 * (kernel-rules: bounded-turn).
 *
 * One transfer alone does best with large pieces (fewer calls). Many at once do best when the page metadata of
 * all pieces in flight stays in the processor's cache: measured with 64 warm streams, 64–128 KiB cost a third of
 * what 256 KiB cost in CPU. So the in-flight total is bounded and divided.
 */
const KiB = 1024;
const MiB = 1024 * KiB;
/** Bytes of one read, and one write, where they are copied through a buffer: as much as Node's own streams of files read. */
export const COPY_SIZE: number = 64 * KiB;
const IN_FLIGHT_TOTAL = 8 * MiB;
const PIECE_MIN = 64 * KiB;
const PIECE_MAX = MiB;
/** What all transfers together move in one turn of the loop, in bytes: about half a millisecond's worth. */
const TURN_TOTAL = 4 * MiB;
/**
 * What a transfer moves at most in its first turn, in bytes: those that start later in the same turn are not counted
 * yet.
 */
const FIRST_TURN_MAX = 512 * KiB;

/** Of this copy of the package, in this thread: two copies in one process do not know of each other's. */
let active = 0;

/** Counts a transfer that begins to share the loop. Each is followed by one {@link transferEnded}. */
export function transferStarted(): void {
  active++;
}

/** Counts a transfer that shares the loop no more. */
export function transferEnded(): void {
  active--;
}

/** How many transfers have started and not ended, on this thread. */
export function activeTransfers(): number {
  return active;
}

/**
 * How much one call should move, given how many transfers share the loop.
 * @param minimum in bytes: less than this would cost more in calls than the sharing gains.
 * @returns bytes.
 */
export function pieceSize(minimum: number = PIECE_MIN): number {
  return Math.min(PIECE_MAX, Math.max(minimum, Math.floor(IN_FLIGHT_TOTAL / Math.max(1, active))));
}

/**
 * How much a transfer moves before it lets the loop go on.
 * @param inFirstTurn whether it has not moved anything yet.
 * @param minimum as of {@link pieceSize}.
 * @returns bytes.
 */
export function quantumSize(inFirstTurn = false, minimum: number = PIECE_MIN): number {
  const quantum = Math.max(pieceSize(minimum), Math.floor(TURN_TOTAL / Math.max(1, active)));
  return inFirstTurn ? Math.min(quantum, FIRST_TURN_MAX) : quantum;
}
