/** docs/troubleshooting.md, and the reasons that the packages publish. */
import test from 'ava';
import { publishedReasons } from '../reasons.mjs';
import { textOf } from '../repository-text.mjs';

/** The texts in backquotes of the first cell of each row. */
function documented() {
  const rows = textOf('docs/troubleshooting.md').matchAll(/^\| (`.*?`) \| (.*) \|$/gm);
  return [...rows].flatMap(([, cell]) => [...cell.matchAll(/`([^`]+)`/g)].map(([, text]) => text));
}

test('docs/troubleshooting.md has a row for every reason that the packages publish, once', (t) => {
  const rows = documented();
  t.deepEqual(rows, [...new Set(rows)]);
  const missing = publishedReasons().filter(({ text }) => !rows.includes(text));
  t.deepEqual(missing, []);
});

test('docs/troubleshooting.md has no reason that no package has any more', (t) => {
  const texts = publishedReasons().map(({ text }) => text);
  t.deepEqual(
    documented().filter((row) => !texts.includes(row)),
    [],
  );
});
