/** What a process uses, from the kernel's own accounts: the same instrument for everybody. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';

export interface Usage {
  /** Seconds of CPU, user and system, of all threads since the last reading. */
  readonly cpuSeconds: number;
  /** Peak resident memory since the last reading, in bytes; since the start where the peak cannot be reset. */
  readonly peakMemory: number;
  /** Open descriptors, now. */
  readonly descriptors: number;
}

/** proc_pid_schedstat(5), clear_refs of proc(5) (5: since Linux 4.0), VmHWM of proc_pid_status(5). */
export class ProcessMeter {
  readonly #pid: number;
  readonly #perThread = new Map<string, number>();

  constructor(pid: number) {
    this.#pid = pid;
    this.read();
  }

  read(): Usage {
    const cpuSeconds = this.#cpuSeconds();
    const [, kilobytes = '0'] = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${this.#pid}/status`, 'utf8')) ?? [];
    try {
      writeFileSync(`/proc/${this.#pid}/clear_refs`, '5');
    } catch {} // then the peak is the whole life's
    return {
      cpuSeconds,
      peakMemory: Number(kilobytes) * 1024,
      descriptors: readdirSync(`/proc/${this.#pid}/fd`).length,
    };
  }

  /** The scheduler's nanoseconds. A thread that has ended since the last reading takes its last stretch with it. */
  #cpuSeconds(): number {
    let nanoseconds = 0;
    for (const thread of readdirSync(`/proc/${this.#pid}/task`)) {
      const own = Number(readFileSync(`/proc/${this.#pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]);
      nanoseconds += own - (this.#perThread.get(thread) ?? 0);
      this.#perThread.set(thread, own);
    }
    return nanoseconds / 1e9;
  }
}
