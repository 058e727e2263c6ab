/** The measured process's side of the talk with its parent. */
import { monitorEventLoopDelay, PerformanceObserver } from 'node:perf_hooks';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Details } from '../servers/server.js';

export type ServerMessage =
  | { readonly port: number }
  | { readonly details: Details }
  | { readonly values: Readonly<Record<string, number>> }
  | { readonly failure: string };

export function tell(message: ServerMessage): void {
  process.send?.(message);
}

/** @param account what this process knows of its own work; called once for each report. */
export function answerReports(account: () => { readonly method: string; readonly syscalls?: number }): void {
  setFlagsFromString('--expose-gc');
  const collectGarbage = runInNewContext('gc') as () => void;
  const delay = monitorEventLoopDelay({ resolution: 1 });
  let collections = 0;
  new PerformanceObserver((list) => {
    collections += list.getEntries().length;
  }).observe({ entryTypes: ['gc'] });
  process.on('message', (question: { readonly report?: 'in short' | 'in detail' }) => {
    if (question.report === undefined) return;
    const counted = { collections };
    let details: Details = { syscalls: 0, ...account(), ...counted };
    if (question.report === 'in detail') {
      details = { ...details, loopDelayP99: delay.percentile(99) / 1e6, heap: heapAfter(collectGarbage) };
      delay.enable();
      delay.reset();
    }
    collections = 0;
    tell({ details });
  });
  process.on('disconnect', () => process.exit());
}

function heapAfter(collectGarbage: () => void): number {
  collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** For processes that do one piece of work at a time: `{ task }` is answered by its values, or by why it failed. */
export function answerTasks(tasks: Readonly<Record<string, (argument: unknown) => unknown>>): void {
  process.on('message', (question: { readonly task?: string; readonly argument?: unknown }) => {
    if (question.task === undefined) return;
    const task = tasks[question.task];
    Promise.resolve()
      .then(() => {
        if (task === undefined) throw new RangeError(`there is no task '${question.task}'`);
        return task(question.argument);
      })
      .then(
        (values) => tell({ values: (values ?? {}) as Readonly<Record<string, number>> }),
        (error: Error) => tell({ failure: error.message }),
      );
  });
}
