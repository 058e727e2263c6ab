/** Events in the order in which they come. */

/** Appends to `log` each event of the emitter by its name, and the `code` of an error with it. */
export function record(log: string[], label: string, emitter: NodeJS.EventEmitter, events: readonly string[]): void {
  for (const event of events) {
    emitter.on(event, (...args: unknown[]) => {
      const code = (args[0] as { code?: unknown } | undefined)?.code;
      log.push(`${label} ${event}${typeof code === 'string' ? ` ${code}` : ''}`);
    });
  }
}
