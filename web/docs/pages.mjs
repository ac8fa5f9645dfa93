/** Pages of the site: which Markdown files there are, their addresses, and the order of the menu. */

/**
 * Groups of the menu. A page is its file from the root of the repository and its name in the menu.
 * The address follows from the file.
 * @type {{ name: string, pages: [file: string, name: string][] }[]}
 */
export const GROUPS = [
  {
    name: 'Begin',
    pages: [
      ['docs/README.md', 'Where to begin'],
      ['README.md', 'What Fedra is'],
      ['docs/start/demo.md', 'Open the demo'],
      ['docs/start/embed.md', 'Embed it in a site'],
      ['docs/start/operate.md', 'Run the aggregator'],
      ['docs/start/simulate.md', 'Simulate'],
    ],
  },
  {
    name: 'Guides',
    pages: [
      ['docs/guides/embed.md', 'A page that trains'],
      ['docs/guides/operate.md', 'A server on the internet'],
      ['docs/guides/simulate.md', 'An experiment'],
      ['docs/guides/task.md', 'Write a task'],
      ['docs/guides/tabular.md', 'A table, from file to model'],
      ['docs/guides/layer.md', 'Add a layer'],
    ],
  },
  {
    name: 'Privacy and law',
    pages: [
      ['docs/guides/privacy-people.md', 'Privacy in plain words'],
      ['docs/guides/privacy-lawyers.md', 'Privacy for lawyers'],
      ['docs/LAW.md', 'Law and ethics'],
      ['docs/PRIVACY.md', 'The promises, exactly'],
    ],
  },
  {
    name: 'Reference',
    pages: [
      ['web/package/README.md', 'The npm package'],
      ['docs/OPERATIONS.md', 'The aggregator'],
      ['docs/CONTAINERS.md', 'Containers'],
      ['docs/SIMULATION.md', 'Simulation'],
      ['docs/PROTOCOL.md', 'The protocol'],
      ['docs/ARCHITECTURE.md', 'Architecture'],
      ['docs/PERFORMANCE.md', 'Performance'],
    ],
  },
  {
    name: 'Results',
    pages: [
      ['docs/results/mcmahan.md', 'Rounds after McMahan et al.'],
      ['docs/results/bytes.md', 'Bytes with each codec'],
      ['docs/results/attack.md', 'Attackers and estimators'],
      ['docs/results/async.md', 'Buffered rounds'],
      ['docs/results/private.md', 'Private training'],
    ],
  },
  {
    name: 'Project',
    pages: [
      ['docs/FAQ.md', 'Questions'],
      ['docs/COMPARISON.md', 'Comparison'],
      ['docs/DEVELOPMENT.md', 'Development'],
      ['CONTRIBUTING.md', 'Contributing'],
      ['SECURITY.md', 'Security'],
      ['CHANGELOG.md', 'Changes'],
    ],
  },
];

/** Files of all pages. */
export const FILES = GROUPS.flatMap(({ pages }) => pages.map(([file]) => file));

/** Addresses that do not follow from the file's name. */
const NAMED = new Map([
  ['docs/README.md', 'index'],
  ['README.md', 'overview'],
  ['web/package/README.md', 'package'],
]);

/** Address of a page below the site's, without a slash at the start and an ending: `guides/task`. */
export const address = (file) =>
  NAMED.get(file) ??
  file
    .replace(/^docs\//, '')
    .replace(/\.md$/, '')
    .toLowerCase();
