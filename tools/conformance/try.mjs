import { stream } from '@zerocopy/conformance/differential/families/stream';
import { examine } from '@zerocopy/conformance/differential/examine';
import { Workspace } from '@zerocopy/conformance/differential/workspace';
import { uncaught } from '@zerocopy/conformance/differential/run';
import fc from 'fast-check';
for (const event of ['uncaughtException', 'unhandledRejection']) process.on(event, (error) => uncaught.push(error));
const w = await Workspace.open();
const skip = new Set((process.argv[3]??'').split(','));
const ok = (p) => !(skip.has('stdout') && p.stdout) && p.steps.every(s => !skip.has(s.what.do));
let n=0; const seen = {};
for (const program of fc.sample(stream.programs.filter(ok), { seed: 7, numRuns: +process.argv[2] })) {
  const t=performance.now();
  const v = await examine(stream, program, w); n++;
  if (v.differences.length) { const k = program.steps.map(s=>s.when+':'+s.what.do+(s.what.of??'')).join(' ')+'/'+program.join+(program.until!==undefined?'/until':''); seen[k]=(seen[k]??0)+1; if (seen[k]<3) console.log(k, v.differences.slice(0,4).map(d=>d.slice(0,160)), JSON.stringify(program).slice(0,400)); }
}
console.log(n, Object.keys(seen).length);
await w.close(); process.exit();
