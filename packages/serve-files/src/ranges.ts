/**
 * Range requests (RFC 9110, 14). range-parser is not used: it takes `5-2` and `-N` beyond the size for unsatisfiable, and
 * `1x-2` for a range.
 */

/** Bytes from `start` to `end`, both inclusive. */
export interface ContentRange {
  readonly start: number;
  readonly end: number;
}

/** Parts of one multipart body, at most: each costs a header, and more are nobody's honest wish. */
export const PARTS_MAX = 32;

const RANGES = /^\s*bytes\s*=(.*)$/is;
const SPEC = /^(\d*)-(\d*)$/;

/** Whether the field asks for bytes at all; nonsense and other units are ignored, as if it were not there. */
export function isByteRange(value: string): boolean {
  return parseSpecs(value) !== undefined;
}

/** [first, last], either of which may be missing; undefined if any of them is none. */
function parseSpecs(value: string): readonly (readonly [number | undefined, number | undefined])[] | undefined {
  const list = RANGES.exec(value)?.[1];
  if (list === undefined) return undefined;
  const specs: (readonly [number | undefined, number | undefined])[] = [];
  for (const element of list.split(',')) {
    const text = element.trim();
    if (text === '') continue;
    const match = SPEC.exec(text);
    if (match === null) return undefined;
    const first = match[1] === '' ? undefined : Number(match[1]);
    const last = match[2] === '' ? undefined : Number(match[2]);
    if (first === undefined && last === undefined) return undefined;
    if (first !== undefined && last !== undefined && BigInt(match[1] as string) > BigInt(match[2] as string)) {
      return undefined;
    }
    specs.push([first, last]);
  }
  return specs.length === 0 ? undefined : specs;
}

/**
 * What of `size` bytes is asked for: ranges within the file, overlapping and adjacent ones combined, in the order in which
 * they were asked for; 'unsatisfiable' (416) if none of them is in the file; undefined if all of it is to be sent: the
 * field says nothing, or more than {@link PARTS_MAX} parts would be needed.
 */
export function parseRange(value: string, size: number): readonly ContentRange[] | 'unsatisfiable' | undefined {
  const specs = parseSpecs(value);
  if (specs === undefined) return undefined;
  const asked: ContentRange[] = [];
  for (const [first, last] of specs) {
    const start = first ?? Math.max(0, size - (last as number));
    const end = first === undefined ? size - 1 : Math.min(last ?? size - 1, size - 1);
    if (start < size && start <= end) asked.push({ start, end });
  }
  if (asked.length === 0) return 'unsatisfiable';
  const ranges = asked.length === 1 ? asked : combine(asked);
  return ranges.length > PARTS_MAX ? undefined : ranges;
}

function combine(asked: readonly ContentRange[]): readonly ContentRange[] {
  const sorted = asked.map((range, order) => ({ ...range, order })).sort((a, b) => a.start - b.start);
  const combined: { start: number; end: number; order: number }[] = [];
  for (const range of sorted) {
    const last = combined.at(-1);
    if (last === undefined || range.start > last.end + 1) combined.push(range);
    else {
      last.end = Math.max(last.end, range.end);
      last.order = Math.min(last.order, range.order);
    }
  }
  return combined.sort((a, b) => a.order - b.order).map(({ start, end }) => ({ start, end }));
}

export const contentRange = ({ start, end }: ContentRange, size: number): string => `bytes ${start}-${end}/${size}`;
