/** RFC 9110, 13.2.2 and 14, written down once more and differently: by bytes, not by ranges. */

export interface Conditions {
  readonly 'if-match'?: string;
  readonly 'if-unmodified-since'?: string;
  readonly 'if-none-match'?: string;
  readonly 'if-modified-since'?: string;
  readonly 'if-range'?: string;
  readonly range?: string;
}

export interface State {
  readonly etag: string;
  /** Milliseconds, whole seconds. */
  readonly modified: number;
  readonly size: number;
}

export interface Outcome {
  readonly status: number;
  /** First and last byte of each; undefined: all of it. */
  readonly ranges?: readonly (readonly [number, number])[];
}

const listed = (value: string): string[] => value.split(',').map((tag) => tag.trim());
const bare = (tag: string): string => tag.replace(/^W\//, '');
const isDate = (value: string): boolean => !Number.isNaN(Date.parse(value));

export function expectedOutcome(method: string, headers: Conditions, { etag, modified, size }: State): Outcome {
  const match = headers['if-match'];
  const unmodified = headers['if-unmodified-since'];
  if (match !== undefined) {
    if (match !== '*' && !listed(match).includes(etag)) return { status: 412 };
  } else if (unmodified !== undefined && isDate(unmodified) && Date.parse(unmodified) < modified)
    return { status: 412 };

  const noneMatch = headers['if-none-match'];
  const since = headers['if-modified-since'];
  if (noneMatch !== undefined) {
    if (noneMatch === '*' || listed(noneMatch).some((tag) => bare(tag) === etag)) return { status: 304 };
  } else if (since !== undefined && isDate(since) && Date.parse(since) >= modified) return { status: 304 };

  const { range } = headers;
  if (method !== 'GET' || range === undefined) return { status: 200 };
  const ifRange = headers['if-range'];
  const same = ifRange === undefined || ifRange === etag || (isDate(ifRange) && Date.parse(ifRange) === modified);
  return same ? expectedRange(range, size) : { status: 200 };
}

function expectedRange(range: string, size: number): Outcome {
  if (!range.startsWith('bytes=') || range === 'bytes=') return { status: 200 };
  const specs = range.slice(6).split(',');
  if (specs.some((spec) => !/^(\d+-\d*|-\d+)$/.test(spec))) return { status: 200 };
  if (specs.some((spec) => /^\d+-\d+$/.test(spec) && Number(spec.split('-')[0]) > Number(spec.split('-')[1]))) {
    return { status: 200 };
  }
  // By the first of the specs that asks for it, for each byte.
  const wanted: (number | undefined)[] = Array(size).fill(undefined);
  for (const [order, spec] of specs.entries()) {
    const [first = '', last = ''] = spec.split('-');
    for (let at = 0; at < size; at++) {
      const inside =
        first === '' ? at >= size - Number(last) : at >= Number(first) && (last === '' || at <= Number(last));
      if (inside) wanted[at] ??= order;
    }
  }
  const runs: { start: number; end: number; order: number }[] = [];
  for (const [at, order] of wanted.entries()) {
    if (order === undefined) continue;
    const last = runs.at(-1);
    if (last !== undefined && last.end === at - 1) {
      last.end = at;
      last.order = Math.min(last.order, order);
    } else runs.push({ start: at, end: at, order });
  }
  if (runs.length === 0) return { status: 416 };
  if (runs.length > 32) return { status: 200 };
  const ordered = runs.sort((a, b) => a.order - b.order);
  return { status: 206, ranges: ordered.map(({ start, end }) => [start, end] as const) };
}
