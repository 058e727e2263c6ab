/** Every point, for every server, in every way of using a connection. */
import Table from 'cli-table3';
import { Client, MODES, type Mode } from './client.js';
import { points } from './points.js';
import { isInstalled, programs, type RunningServer, startNode, startProgram } from './running.js';
import { servers } from './servers.js';
import { makeSite } from './site.js';

/** By the numbers of {@link points}: what is right; a string says why not. */
type Marks = readonly (true | string)[];

export interface Contestant {
  readonly name: string;
  readonly ours: boolean;
  /** Undefined: it is not installed. */
  readonly start: ((root: string) => Promise<RunningServer>) | undefined;
}

export const contestants: readonly Contestant[] = [
  ...servers.map(({ name, ours, modules }) => ({
    name,
    ours,
    start: modules.every(isResolvable) ? (root: string) => startNode(name, root) : undefined,
  })),
  ...programs.map((program) => ({
    name: program.name,
    ours: program.ours === true,
    start: isInstalled(program) ? (root: string) => startProgram(program, root) : undefined,
  })),
];

function isResolvable(name: string): boolean {
  try {
    import.meta.resolve(name);
    return true;
  } catch {
    return false;
  }
}

/** A site of its own for each: some points write to it. A server that hangs or ends is started anew. */
async function marksOf(start: (root: string) => Promise<RunningServer>, mode: Mode): Promise<Marks> {
  const site = makeSite();
  let server = await start(site.root);
  try {
    const marks: (true | string)[] = [];
    for (const point of points) {
      const client = new Client(server.port, mode);
      let mark: true | string;
      try {
        const right = await point.right({ client, site, ask: (target, asking) => client.ask(target, asking) });
        mark = right || 'another answer';
      } catch (error) {
        mark = (error as Error).message;
      }
      client.close();
      marks.push(server.alive ? mark : 'the server has ended');
      if (mark !== true && (!server.alive || /in time/.test(mark))) {
        await server.stop();
        server = await start(site.root);
      }
    }
    return marks;
  } finally {
    await server.stop();
    site.remove();
  }
}

export interface Comparison {
  /** Whether ours are right in all of it. */
  readonly clean: boolean;
  readonly text: string;
}

/** @param only names of contestants; undefined: all. */
export async function compare(only: readonly string[] | undefined): Promise<Comparison> {
  const tried = contestants.filter(({ name }) => only === undefined || only.includes(name));
  const results = new Map<string, Marks>();
  const lines: string[] = [];
  let clean = true;
  for (const { name, ours, start } of tried) {
    if (start === undefined) continue;
    // The points are compared on connections that close; ours must be right on all of them.
    for (const mode of ours ? MODES : (['close'] as const)) {
      const marks = await marksOf(start, mode);
      if (mode === 'close') results.set(name, marks);
      const wrong = marks.flatMap((mark, at) =>
        mark === true ? [] : [`${points[at]?.subject}: ${points[at]?.name} (${mark})`],
      );
      if (ours && wrong.length > 0) {
        clean = false;
        lines.push(`${name}, ${mode}: ${wrong.join('; ')}`);
      }
      console.log(`${name}, ${mode}: ${marks.length - wrong.length} of ${marks.length}`);
    }
  }
  return { clean, text: [tableOf(tried, results), ...lines].join('\n') };
}

function tableOf(tried: readonly Contestant[], results: ReadonlyMap<string, Marks>): string {
  const shown = tried.filter(({ name }) => results.has(name));
  const missing = tried.filter(({ start }) => start === undefined).map(({ name }) => name);
  const table = new Table({
    head: ['', ...shown.map(({ name }) => name)],
    chars: { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' },
    style: { head: [], border: [] },
  });
  for (const [at, { subject, name }] of points.entries()) {
    table.push([`${subject}: ${name}`, ...shown.map((one) => (results.get(one.name)?.[at] === true ? '✓' : '·'))]);
  }
  table.push([
    `of ${points.length}`,
    ...shown.map((one) => String(results.get(one.name)?.filter((mark) => mark === true).length)),
  ]);
  return missing.length === 0 ? table.toString() : `${table.toString()}\nnot installed: ${missing.join(', ')}`;
}
