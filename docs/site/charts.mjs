/**
 * `<!-- chart: FILE, TEXT -->` becomes the first table after TEXT in that file (or the table whose first line begins with
 * it), drawn as bars, and the table itself beneath. So no figure stands in two places.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './sources.mjs';

const cellsOf = (line) =>
  line
    .slice(1, line.lastIndexOf('|'))
    .split('|')
    .map((cell) => cell.trim());

function tableAfter(file, text) {
  const lines = readFileSync(join(root, file), 'utf8').split('\n');
  const squeezed = (line) => line.replaceAll(/\s+/g, ' ');
  const found = lines.findIndex((line) => squeezed(line).includes(text));
  if (found < 0) throw new Error(`${file} has no “${text}” any more`);
  const start = lines.findIndex((line, index) => index >= found && line.startsWith('|'));
  const length = lines.slice(start).findIndex((line) => !line.startsWith('|'));
  return lines.slice(start, length < 0 ? undefined : start + length);
}

const escapeHtml = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('`', '');
/** Ours stand out; what is named by its function in backquotes may be Node's. */
const isOurs = (name) =>
  /createSendfileStream|sendFile|receiveFile|zerocopy|copyFile|mmap-buffer/.test(name) && !/fs\./.test(name);

function barsOf([head, , ...rows]) {
  const [, ...names] = cellsOf(head);
  return rows
    .map((row) => {
      const [title, ...cells] = cellsOf(row);
      const values = cells.map((cell) => Number.parseFloat(cell));
      const most = Math.max(...values.filter(Number.isFinite));
      const bars = names.map((name, index) => {
        if (!Number.isFinite(values[index])) return '';
        const width = ((100 * values[index]) / most).toFixed(1);
        const kind = isOurs(name) ? 'bar ours' : 'bar';
        return `<div class="name">${escapeHtml(name)}</div><div class="track"><div class="${kind}" style="width:${width}%"></div><span>${escapeHtml(cells[index])}</span></div>`;
      });
      return `<figure class="chart"><figcaption>${escapeHtml(title)}</figcaption><div class="bars" aria-hidden="true">${bars.join('')}</div></figure>`;
    })
    .join('\n');
}

export function withCharts(markdown) {
  return markdown.replaceAll(/^<!-- chart: (\S+), (.*) -->$/gm, (_, file, text) => {
    const table = tableAfter(file, text);
    return `${barsOf(table)}\n\n::: details As a table\n\n${table.join('\n')}\n\n:::`;
  });
}
