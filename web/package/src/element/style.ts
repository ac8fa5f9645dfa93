/** Style of the element: a light and a dark scheme, each colour and measure a custom property. */
export const STYLE = `
:host {
  color-scheme: light dark;
  --_ink: var(--fedra-ink, light-dark(#13201b, #e9f1ed));
  --_soft: var(--fedra-ink-soft, light-dark(#52625b, #9db0a8));
  --_paper: var(--fedra-paper, light-dark(#ffffff, #121c19));
  --_line: var(--fedra-line, light-dark(#d9e1dc, #24332d));
  --_accent: var(--fedra-accent, light-dark(#0a7a5f, #4fd3aa));
  --_on-accent: var(--fedra-on-accent, light-dark(#ffffff, #06251b));
  --_bad: var(--fedra-bad, light-dark(#a8321c, #ff9b82));
  display: block;
  position: relative;
  box-sizing: border-box;
  max-width: 40rem;
  padding: var(--fedra-padding, 1.25rem);
  border: 1px solid var(--_line);
  border-radius: var(--fedra-radius, 0.75rem);
  background: var(--_paper);
  color: var(--_ink);
  font: var(--fedra-font, 400 1rem / 1.5 system-ui, sans-serif);
  font-variant-numeric: tabular-nums;
  overflow-wrap: anywhere;
}
:host([hidden]) { display: none; }
[hidden] { display: none !important; }
h2, h3, p, ul { margin: 0; padding: 0; }
h2 { font-size: 1.125rem; font-weight: 650; line-height: 1.3; }
h3 { font-size: 1rem; font-weight: 650; }
section { display: grid; gap: 0.75rem; }
section:focus { outline: none; }
ul { list-style: none; display: grid; gap: 0.25rem; }
.all { display: grid; gap: 1rem; }
.status { display: flex; align-items: baseline; gap: 0.6rem; }
.status::before {
  content: "";
  flex: none;
  width: 0.55rem;
  height: 0.55rem;
  border-radius: 50%;
  border: 2px solid var(--_soft);
}
.status[data-active]::before { border-color: var(--_accent); background: var(--_accent); }
.soft { color: var(--_soft); font-size: 0.9375rem; }
.problem { color: var(--_bad); }
.actions { display: flex; flex-wrap: wrap; gap: 0.6rem; }
.text { white-space: pre-line; max-height: 14rem; overflow: auto; padding-inline-start: 0.75rem; border-inline-start: 3px solid var(--_line); }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
button {
  min-height: 2.75rem;
  padding: 0.4rem 1rem;
  border: 1px solid var(--_soft);
  border-radius: var(--fedra-button-radius, 0.5rem);
  background: none;
  color: inherit;
  font: inherit;
  cursor: pointer;
}
button.primary { border-color: var(--_accent); background: var(--_accent); color: var(--_on-accent); font-weight: 600; }
button:hover { text-decoration: underline; text-underline-offset: 0.2em; }
:focus-visible { outline: 3px solid var(--_accent); outline-offset: 2px; }
section:focus-visible { outline: none; }
progress {
  appearance: none;
  width: 100%;
  height: 0.5rem;
  border: 0;
  border-radius: 0.25rem;
  background: var(--_line);
  overflow: hidden;
  color: var(--_accent);
}
/* Its place stays, so that nothing moves from round to round. */
progress[data-idle] { visibility: hidden; }
progress::-webkit-progress-bar { background: var(--_line); }
progress::-webkit-progress-value { background: var(--_accent); }
progress::-moz-progress-bar { background: var(--_accent); }
details { border-top: 1px solid var(--_line); padding-top: 0.75rem; }
summary { cursor: pointer; font-weight: 600; min-height: 1.75rem; }
details > div { display: grid; gap: 0.6rem; padding-top: 0.5rem; }
.table { overflow-x: auto; max-height: 16rem; }
table { width: 100%; border-collapse: collapse; font-size: 0.8125rem; overflow-wrap: normal; }
th { font-weight: 600; color: var(--_soft); }
th, td { padding: 0.3rem 0.3rem 0.3rem 0; text-align: start; vertical-align: top; border-bottom: 1px solid var(--_line); }
@media (forced-colors: active) {
  button.primary { border-width: 2px; }
  .status[data-active]::before { background: Highlight; }
}
`;
