import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { defineConfig } from 'vitepress';
import { packages, pages, REPOSITORY, root } from '../sources.mjs';

const content = join(import.meta.dirname, '..', 'content');
const hasReference = ({ name }) => existsSync(join(content, 'api', name, 'index.md'));
const item = (text, link) => ({ text, link });

/** The anchors that GitHub gives, so that one link works in the repository and on the site. */
const slugify = (heading) =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .trim()
    .replaceAll(' ', '-');

/** Pages that nobody has sorted yet, by their headings: a new document is on the site without a line here. */
function others(groups) {
  const sorted = new Set(groups.flatMap(({ items }) => items.map(({ link }) => link)));
  const unsorted = [...pages].filter(([source, page]) => source.startsWith('docs/') && !sorted.has(linkOf(page)));
  return unsorted.map(([source, page]) => {
    const [, heading] = /^# (.*)$/m.exec(readFileSync(join(root, source), 'utf8')) ?? [];
    return item(heading ?? page, linkOf(page));
  });
}
const linkOf = (page) => `/${page.replace(/(^|\/)index\.md$/, '$1').replace(/\.md$/, '')}`;

const groups = [
  {
    text: 'Guide',
    items: [
      item('Start here', '/'),
      item('Which package for what', '/packages'),
      item('Migration', '/migration'),
      item('Benchmarks', '/benchmarks'),
      item('Questions', '/faq'),
    ],
  },
  {
    text: 'In production',
    items: [
      item('Operations', '/operations'),
      item('Observability', '/observability'),
      item('Why is it not faster?', '/troubleshooting'),
      item('Errors', '/errors'),
      item('Security', '/security'),
      item('Support', '/support'),
    ],
  },
  { text: 'Packages', items: packages.map(({ name }) => item(name, `/packages/${name}`)) },
  {
    text: 'API reference',
    collapsed: true,
    items: packages.filter(hasReference).map(({ name }) => item(name, `/api/${name}/`)),
  },
  {
    text: 'Inside',
    items: [
      item('How it works', '/design'),
      item('Kernel rules', '/kernel-rules'),
      item('Contributing', '/contributing'),
    ],
  },
];

export default defineConfig({
  title: 'zerocopy',
  description: 'npm packages that let Node.js move bytes between files, sockets and pipes inside the Linux kernel',
  lang: 'en',
  base: '/zerocopy/',
  srcDir: 'content',
  cleanUrls: true,
  lastUpdated: false,
  vite: { build: { chunkSizeWarningLimit: 4000 } },
  markdown: {
    anchor: { slugify },
    toc: { slugify },
    config(md) {
      const fence = md.renderer.rules.fence;
      md.renderer.rules.fence = (tokens, index, ...rest) => {
        const { info, content: text } = tokens[index];
        if (info.trim() !== 'mermaid') return fence(tokens, index, ...rest);
        return `<MermaidDrawing code="${encodeURIComponent(text)}" />`;
      };
    },
  },
  themeConfig: {
    search: { provider: 'local' },
    outline: [2, 3],
    socialLinks: [{ icon: 'github', link: REPOSITORY }],
    // Called in the browser, where nothing of this file is known.
    editLink: { pattern: ({ frontmatter }) => frontmatter.edit, text: 'Edit this page' },
    nav: [item('Start', '/'), item('Packages', '/packages'), item('Why is it not faster?', '/troubleshooting')],
    sidebar: groups.map((group) =>
      group.text === 'In production' ? { ...group, items: [...group.items, ...others(groups)] } : group,
    ),
  },
});
