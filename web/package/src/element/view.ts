/** Parts of the element in its shadow tree, made once. It must not know a client. */

/** Elements that the trainer fills, by name. */
export interface View {
  readonly title: HTMLElement;
  readonly status: HTMLElement;
  readonly news: HTMLElement;
  readonly problem: HTMLElement;
  readonly invitation: HTMLElement;
  readonly invitationText: HTMLElement;
  readonly takePart: HTMLButtonElement;
  readonly consent: HTMLElement;
  readonly askTitle: HTMLElement;
  readonly consentText: HTMLElement;
  readonly consentVersion: HTMLElement;
  readonly consentPolicy: HTMLElement;
  readonly consentCosts: HTMLElement;
  readonly agree: HTMLButtonElement;
  readonly decline: HTMLButtonElement;
  readonly running: HTMLElement;
  readonly progress: HTMLProgressElement;
  readonly otherTab: HTMLElement;
  readonly pause: HTMLButtonElement;
  readonly withdraw: HTMLButtonElement;
  readonly privacy: HTMLDetailsElement;
  readonly privacyTitle: HTMLElement;
  readonly policy: HTMLElement;
  readonly costs: HTMLElement;
  readonly sent: HTMLDetailsElement;
  readonly sentTitle: HTMLElement;
  readonly sentTotal: HTMLElement;
  readonly table: HTMLElement;
  readonly head: HTMLElement;
  readonly rows: HTMLElement;
  readonly save: HTMLButtonElement;
}

type Attributes = Readonly<Record<string, string>>;

/** Makes the parts in a shadow root. */
export function viewIn(root: ShadowRoot): View {
  const view = {
    title: make('h2', { part: 'title' }),
    status: make('p', { part: 'status', class: 'status', tabindex: '-1' }),
    // Rounds change the status too often to be read out each time.
    news: make('p', { class: 'unseen', role: 'status' }),
    problem: make('p', { part: 'problem', class: 'problem', role: 'alert' }),
    invitationText: make('p'),
    takePart: make('button', { part: 'button primary', class: 'primary', type: 'button' }),
    askTitle: make('h3', { id: 'ask' }),
    consentText: make('p', { part: 'consent-text', class: 'text', tabindex: '0' }),
    consentVersion: make('p', { class: 'soft' }),
    consentPolicy: make('p'),
    consentCosts: make('ul', { class: 'soft' }),
    agree: make('button', { part: 'button primary', class: 'primary', type: 'button' }),
    decline: make('button', { part: 'button', type: 'button' }),
    progress: make('progress', { part: 'progress' }),
    otherTab: make('p', { class: 'soft' }),
    pause: make('button', { part: 'button', type: 'button' }),
    withdraw: make('button', { part: 'button', type: 'button' }),
    privacyTitle: make('summary'),
    policy: make('p'),
    costs: make('ul'),
    sentTitle: make('summary', { id: 'sent' }),
    sentTotal: make('p'),
    head: make('tr'),
    rows: make('tbody'),
    save: make('button', { part: 'button', type: 'button' }),
  };
  const actions = (...buttons: HTMLElement[]) => make('div', { class: 'actions' }, ...buttons);
  const invitation = make('section', { part: 'invitation' }, view.invitationText, actions(view.takePart));
  const consent = make(
    'section',
    { part: 'consent', role: 'group', 'aria-labelledby': 'ask', tabindex: '-1' },
    view.askTitle,
    view.consentText,
    view.consentVersion,
    view.consentPolicy,
    view.consentCosts,
    actions(view.agree, view.decline),
  );
  const running = make('section', { part: 'running' }, view.progress, view.otherTab, actions(view.pause, view.withdraw));
  const privacy = make('details', { part: 'privacy' }, view.privacyTitle, make('div', {}, view.policy, view.costs));
  const rows = make('table', {}, make('thead', {}, view.head), view.rows);
  // A part that scrolls can be reached by keyboard.
  const table = make('div', { class: 'table', role: 'region', 'aria-labelledby': 'sent', tabindex: '0' }, rows);
  const sent = make('details', { part: 'sent' }, view.sentTitle, make('div', {}, view.sentTotal, table, actions(view.save)));
  root.append(make('div', { class: 'all' }, view.title, view.status, view.news, view.problem, invitation, consent, running, privacy, sent));
  return { ...view, invitation, consent, running, privacy, table, sent };
}

/** Makes an element. */
export function make<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Name] {
  const element = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, value);
  element.append(...children);
  return element;
}

/** Sets a text, and touches the tree only where it is another one. */
export function write(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}
