/** Whether what both hosts have seen is the same, and moved as it should have been. */
import type { Condition } from './conditions.js';
import type { Passage } from './scenarios/scenario.js';

export interface Verdict {
  /** What is wrong; empty if nothing is. */
  readonly faults: readonly string[];
  /** Bytes whose hashes have been compared. */
  readonly bytes: number;
  /** Which ways were taken. */
  readonly methods: readonly string[];
}

/** A proxy copies what comes in small pieces; that is no refusal, but what its README says. */
const TOO_LITTLE = /^what came was too little for splice/;

export function judge(passages: readonly Passage[], { littleAtATime }: Condition): Verdict {
  const faults: string[] = [];
  const methods = new Set<string>();
  let bytes = 0;
  for (const name of new Set(passages.map((passage) => passage.name))) {
    const seen = passages.filter((passage) => passage.name === name);
    const [first] = seen as [Passage];
    const hashes = seen.flatMap(({ sha256 }) => sha256 ?? []);
    if (seen.some((passage) => passage.bytes !== first.bytes)) {
      faults.push(`${name}: ${seen.map((passage) => passage.bytes).join(', ')} bytes`);
    }
    if (new Set(hashes).size > 1) faults.push(`${name}: the hashes differ`);
    if (hashes.length === 1 || seen.length < 2) faults.push(`${name}: seen by one side only`);
    if (hashes.length > 1) bytes += first.bytes;
    for (const { method, fallbackReason } of seen) {
      if (method !== undefined) methods.add(method);
      if (method !== 'copy') continue;
      if (!(littleAtATime && name.startsWith('proxy') && TOO_LITTLE.test(fallbackReason ?? '')))
        faults.push(`${name}: copied: ${fallbackReason}`);
    }
  }
  if (passages.length === 0) faults.push('nothing has been seen');
  return { faults, bytes, methods: [...methods] };
}
