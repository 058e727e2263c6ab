/** Adds up what run-ava.mjs has left in the projects, and says it in the words of the closing line. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export const resultsOf = (project) => join(project, 'test-results');

/** A project whose tests have left no results counts as a failure: they crashed, or never ran. */
export function countResults(projects) {
  const totals = { passed: 0, failed: 0, skipped: 0 };
  const lines = [];
  for (const project of projects) {
    const file = join(resultsOf(project), 'summary.json');
    if (!existsSync(file)) {
      lines.push(`${project}: no test results`);
      totals.failed++;
      continue;
    }
    const { passed, failed, skipped, skips, failures } = JSON.parse(readFileSync(file, 'utf8'));
    lines.push(`${project}: ${passed} passed, ${failed} failed, ${skipped} skipped`);
    lines.push(...skips.map((name) => `  skipped: ${name}`), ...failures.map((name) => `  failed: ${name}`));
    totals.passed += passed;
    totals.failed += failed;
    totals.skipped += skipped;
  }
  return { totals, lines };
}

export function closingLine({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed${skipped === 0 ? '' : `, ${skipped} skipped`}`;
}
