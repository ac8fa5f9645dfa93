/**
 * A place for the visitor's own files: they are dropped or chosen, a table and pictures are
 * shown as the model sees them, and they are given to the client. Files may be kept in this
 * browser, and forgotten. They go nowhere but to the session.
 */

import type { Kept, Reading, ReadOptions, TrainKeptOptions } from 'fedra';
import { FedraError } from 'fedra';
import type { TemplateResult } from 'lit';
import { html, nothing } from 'lit';
import type { DataDescription, DataSession, OwnFiles, Picked, PicturePreview, PreviewRow, TablePreview } from '../own-data.js';
import {
  classOf,
  countWords,
  keptWords,
  labelled,
  labelsOf,
  picturePreviews,
  previewWords,
  tablePreview,
  trainingFiles,
} from '../own-data.js';
import { bytes, percent, sentence } from '../words.js';
import { LightElement } from './light-element.js';

/** Words of a kind of data, and the types of its files. */
const KINDS: Readonly<Record<string, { readonly own: string; readonly wanted: string; readonly choose: string; readonly accept: string }>> =
  {
    table: { own: 'table', wanted: 'a CSV file', choose: 'choose a file', accept: '.csv,.tsv,.txt,.gz,text/csv' },
    image: { own: 'pictures', wanted: 'pictures or a folder of them', choose: 'choose pictures', accept: 'image/*' },
    text: { own: 'text', wanted: 'text files', choose: 'choose files', accept: '.txt,.md,.gz,text/plain' },
    array: {
      own: 'arrays',
      wanted: 'an .npz file, or one of examples and one of labels (.npy or IDX),',
      choose: 'choose files',
      // IDX files have no ending.
      accept: '',
    },
  };
/** Examples that a preview reads of a table or a text; beyond them chance chooses. */
const READ = 1000;
/** Pictures of a preview. */
const PICTURES = 12;

type Stage = 'empty' | 'reading' | 'shown' | 'giving' | 'given';

/** Dispatches `taken` once the client trains on the visitor's files. */
export class OwnData extends LightElement {
  static override properties = { description: { attribute: false }, session: { attribute: false } };
  /** The task's data. Of an unknown kind nothing is drawn. */
  declare description: DataDescription | undefined;
  declare session: DataSession | undefined;

  #stage: Stage = 'empty';
  #picked: readonly Picked[] = [];
  /** Class of the pictures whose folders name none. */
  #class: string | undefined;
  /** The file of an array's labels. */
  #labels: Picked | undefined;
  #decimal: '.' | ',' = '.';
  #progress: Reading | undefined;
  /** True once the files have been read for a preview. */
  #isRead = false;
  /** Examples of the files. */
  #examples = 0;
  /** Some of them as the model sees them. */
  #table: TablePreview | undefined;
  #pictures: readonly PicturePreview[] = [];
  #problem: { readonly title: string; readonly text: string } | undefined;
  #keeps = false;
  #kept: Kept | null | undefined;
  #over = false;
  #run = new AbortController();
  #hadFocus = false;

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#run.abort();
  }

  protected override willUpdate(changed: Map<string, unknown>): void {
    this.#hadFocus = this.contains(document.activeElement);
    if (changed.has('session')) void this.#findKept();
    // Files were chosen for another task.
    if (changed.has('description') && changed.get('description')) this.#clear();
  }

  protected override updated(): void {
    for (const [index, canvas] of this.querySelectorAll<HTMLCanvasElement>('.preview canvas').entries()) {
      const picture = this.#pictures[index];
      if (picture) canvas.getContext('2d')?.putImageData(new ImageData(picture.pixels, picture.width, picture.height), 0, 0);
    }
    // The button that was pressed may have gone.
    if (this.#hadFocus && !this.contains(document.activeElement)) this.querySelector<HTMLElement>('h2')?.focus();
  }

  protected override render(): TemplateResult | typeof nothing {
    const words = KINDS[this.#kind];
    if (!words) return nothing;
    return html`
      <section class="own" aria-labelledby="own">
        <h2 id="own" tabindex="-1">Your own ${words.own}</h2>
        <p class="of">What you choose is read in this tab, and stays on this device.</p>
        ${this.#keptLine()} ${this.#place(words)} ${this.#choices()} ${this.#progressLine()}
        <div role="alert">${this.#problemBox()}</div>
        ${this.#preview()}
        <div class="unseen" role="status">${this.#spoken()}</div>
      </section>
    `;
  }

  get #isTable(): boolean {
    return this.description?.kind === 'table';
  }

  get #isPictures(): boolean {
    return this.description?.kind === 'image';
  }

  get #kind(): string {
    return this.description?.kind ?? '';
  }

  get #classes(): readonly string[] {
    return this.description?.classes ?? [];
  }

  get #isArray(): boolean {
    return this.#kind === 'array';
  }

  get #isBusy(): boolean {
    return this.#stage === 'reading' || this.#stage === 'giving';
  }

  #place({ wanted, choose, accept }: { wanted: string; choose: string; accept: string }): TemplateResult {
    return html`<div
      class="drop"
      ?data-over=${this.#over}
      @dragover=${this.#dragOver}
      @dragleave=${() => this.#hover(false)}
      @drop=${this.#dropped}
    >
      <p>Drop ${wanted} here, or</p>
      <div class="row">
        ${this.#button(choose, 'input.files')}
        ${this.#isPictures ? this.#button('choose a folder', 'input.folder') : nothing}
      </div>
      <input class="files" type="file" hidden multiple accept=${accept} @change=${this.#chosen} />
      <input class="folder" type="file" hidden multiple webkitdirectory @change=${this.#chosen} />
    </div>`;
  }

  #button(label: string, input: string): TemplateResult {
    const open = () => this.querySelector<HTMLInputElement>(input)?.click();
    return html`<button class="plain" ?disabled=${!this.session || this.#isBusy} @click=${open}>${label}</button>`;
  }

  /** Choices that the files do not tell. */
  #choices(): TemplateResult | typeof nothing {
    if (this.#isTable) {
      return html`<label class="choice">
        Decimal sign
        <select ?disabled=${this.#isBusy} @change=${this.#decimalChosen}>
          <option value=".">point: 41.5</option>
          <option value=",">comma: 41,5</option>
        </select>
      </label>`;
    }
    if (this.#isArray && this.#picked.length === 2) {
      return html`<label class="choice">
        The labels are in
        <select ?disabled=${this.#isBusy} @change=${this.#labelsChosen}>
          ${this.#picked.map((one) => html`<option value=${one.path} .selected=${one === this.#labels}>${one.file.name}</option>`)}
        </select>
      </label>`;
    }
    if (!this.#isPictures) return nothing;
    const nameless = this.#picked.filter(({ path }) => classOf(path, this.#classes) === undefined).length;
    if (nameless === 0) return nothing;
    return html`<label class="choice">
      ${nameless === this.#picked.length ? `${countWords(nameless, 'image')} of` : `${countWords(nameless, 'image')} in other folders, of`}
      <select ?disabled=${this.#isBusy} @change=${this.#classChosen}>
        <option value="" .selected=${this.#class === undefined}>choose a class</option>
        ${this.#classes.map((name) => html`<option value=${name} .selected=${this.#class === name}>${name}</option>`)}
      </select>
    </label>`;
  }

  #progressLine(): TemplateResult | typeof nothing {
    if (!this.#isBusy) return nothing;
    const share = this.#progress?.total ? this.#progress.bytes / this.#progress.total : undefined;
    const far = this.#progress ? countWords(this.#progress.examples, this.#kind) : 'waiting for the task';
    const part = share === undefined ? bytes(this.#progress?.bytes ?? 0) : percent(share, 0);
    return html`<div class="progress">
      <progress max="1" .value=${share ?? 0} aria-label="Reading your files"></progress>
      <small>${far}, ${part}</small>
      <button class="plain" id="own-stop" @click=${() => this.#run.abort()}>Stop</button>
    </div>`;
  }

  #problemBox(): TemplateResult | typeof nothing {
    if (!this.#problem) return nothing;
    return html`<div class="message problem"><strong>${this.#problem.title}</strong><p>${this.#problem.text}</p></div>`;
  }

  #preview(): TemplateResult | typeof nothing {
    if (!this.#isRead) return nothing;
    return html`<div class="preview">
      ${this.#shown()}
      <label class="choice">
        <input type="checkbox" ?disabled=${this.#isBusy} .checked=${this.#keeps} @change=${this.#keepsChosen} />
        Keep the files in this browser for my next visit
      </label>
      <button class="primary" id="own-train" ?disabled=${this.#isBusy} @click=${() => this.#give()}>
        ${this.#stage === 'given' ? 'Train on these again' : 'Train on these'}
      </button>
    </div>`;
  }

  /** Some of the examples as the model sees them, or the number of those that cannot be shown. */
  #shown(): TemplateResult {
    if (!this.#isTable && !this.#isPictures) return html`<h3>${countWords(this.#examples, this.#kind)}, read without a mistake</h3>`;
    const shown = this.#table?.shown ?? this.#pictures.length;
    const drawn = this.#isTable && this.#examples > READ;
    return html`<h3>${previewWords(shown, this.#examples, this.#kind, drawn)}</h3>
      ${this.#table ? rows(this.#table) : gallery(this.#pictures)}`;
  }

  #keptLine(): TemplateResult | typeof nothing {
    if (!this.#kept) return nothing;
    return html`<div class="kept">
      <p>Kept in this browser: <span id="own-kept">${keptWords(this.#kept)}</span></p>
      <div class="row">
        <button class="plain" id="own-train-kept" ?disabled=${this.#isBusy} @click=${() => this.#giveKept()}>Train on them</button>
        <button class="plain" id="own-forget" ?disabled=${this.#isBusy} @click=${() => this.#forget()}>Forget them</button>
      </div>
    </div>`;
  }

  #spoken(): string {
    switch (this.#stage) {
      case 'reading':
      case 'giving':
        return 'Reading your files';
      case 'shown':
        return `${countWords(this.#examples, this.#kind)} read`;
      case 'given':
        return 'This tab trains on your files';
      case 'empty':
        return '';
    }
  }

  #hover(over: boolean): void {
    if (over === this.#over) return;
    this.#over = over;
    this.requestUpdate();
  }

  #dragOver(event: DragEvent): void {
    event.preventDefault();
    this.#hover(true);
  }

  #dropped(event: DragEvent): void {
    event.preventDefault();
    this.#hover(false);
    if (!this.session || this.#isBusy || !event.dataTransfer) return;
    void filesOf(event.dataTransfer).then((picked) => this.#choose(picked));
  }

  #chosen(event: Event): void {
    const input = event.currentTarget as HTMLInputElement;
    const picked = [...(input.files ?? [])].map((file) => ({ file, path: file.webkitRelativePath || file.name }));
    // The same files may be chosen again.
    input.value = '';
    this.#choose(picked);
  }

  #choose(picked: readonly Picked[]): void {
    const wanted = this.#isPictures ? picked.filter(({ file }) => file.type.startsWith('image/')) : picked;
    if (wanted.length === 0) return;
    this.#picked = wanted;
    this.#class = undefined;
    this.#labels = this.#isArray ? labelsOf(wanted) : undefined;
    void this.#show();
  }

  #decimalChosen(event: Event): void {
    this.#decimal = (event.currentTarget as HTMLSelectElement).value as '.' | ',';
    void this.#show();
  }

  #classChosen(event: Event): void {
    this.#class = (event.currentTarget as HTMLSelectElement).value || undefined;
    void this.#show();
  }

  #labelsChosen(event: Event): void {
    const { value } = event.currentTarget as HTMLSelectElement;
    this.#labels = this.#picked.find(({ path }) => path === value);
    void this.#show();
  }

  #keepsChosen(event: Event): void {
    this.#keeps = (event.currentTarget as HTMLInputElement).checked;
  }

  #clear(): void {
    this.#run.abort();
    this.#stage = 'empty';
    this.#picked = [];
    this.#forgetPreview();
    this.#problem = undefined;
  }

  /** The files as the client takes them, if everything about them is said. */
  #files(): OwnFiles | undefined {
    if (this.#picked.length === 0) return undefined;
    if (this.#isPictures) return labelled(this.#picked, this.#classes, this.#class);
    return trainingFiles(this.#picked, this.#labels);
  }

  #waiting(signal: AbortSignal): TrainKeptOptions {
    const onReading = (reading: Reading) => {
      this.#progress = reading;
      this.requestUpdate();
    };
    return { signal, onReading, timeout: Infinity };
  }

  #options(signal: AbortSignal): ReadOptions {
    return { ...this.#waiting(signal), ...(this.#isTable ? { decimal: this.#decimal } : {}) };
  }

  #forgetPreview(): void {
    this.#isRead = false;
    this.#table = undefined;
    this.#pictures = [];
  }

  /** Reads the files for a preview. */
  async #show(): Promise<void> {
    this.#forgetPreview();
    this.#problem = undefined;
    const files = this.#files();
    const { session, description } = this;
    if (!files || !session || !description) return this.#reach('empty');
    await this.#attempt('reading', 'empty', async (signal) => {
      const part = 'images' in files ? { images: files.images.slice(0, PICTURES) } : files;
      // An array is read whole before examples are chosen.
      const more = this.#isPictures || this.#isArray ? {} : { maxExamples: READ };
      const read = await session.read(part, { ...this.#options(signal), ...more });
      if (this.#isTable) this.#table = tablePreview(read, description);
      if (this.#isPictures) this.#pictures = picturePreviews(read, this.#classes);
      const [count = 0] = read.shape;
      this.#examples = this.#isPictures ? this.#picked.length : this.#isArray ? count : (this.#progress?.examples ?? 0);
      this.#isRead = true;
      this.#reach('shown');
    });
  }

  async #give(): Promise<void> {
    const files = this.#files();
    const { session } = this;
    if (!files || !session) return;
    await this.#attempt('giving', 'shown', async (signal) => {
      await session.train(files, this.#options(signal));
      this.#taken();
      if (this.#keeps) this.#kept = await session.keep();
    });
  }

  async #giveKept(): Promise<void> {
    const { session } = this;
    if (!session) return;
    await this.#attempt('giving', this.#isRead ? 'shown' : 'empty', async (signal) => {
      await session.trainKept(this.#waiting(signal));
      this.#taken();
    });
  }

  async #forget(): Promise<void> {
    await this.#attempt(this.#stage, this.#stage, async () => {
      await this.session?.forget();
      this.#kept = null;
    });
  }

  async #findKept(): Promise<void> {
    this.#kept = undefined;
    const { session } = this;
    // A browser without storage keeps nothing.
    const kept = await session?.kept().catch(() => null);
    if (session !== this.session) return;
    this.#kept = kept;
    this.requestUpdate();
  }

  #taken(): void {
    this.#reach('given');
    this.dispatchEvent(new CustomEvent('taken'));
  }

  /** Does what takes a while. After a mistake, or when it is stopped, the stage is `otherwise`. */
  async #attempt(during: Stage, otherwise: Stage, act: (signal: AbortSignal) => Promise<void>): Promise<void> {
    this.#run.abort();
    this.#run = new AbortController();
    const { signal } = this.#run;
    this.#problem = undefined;
    this.#progress = undefined;
    this.#reach(during);
    try {
      await act(signal);
    } catch (error) {
      // Other files have taken the place of these.
      if (signal !== this.#run.signal) return;
      if (this.#stage === during) this.#reach(otherwise);
      if (!(error instanceof FedraError && error.code === 'aborted')) this.#problem = problemOf(error);
    }
    this.requestUpdate();
  }

  #reach(stage: Stage): void {
    this.#stage = stage;
    this.requestUpdate();
  }
}

function rows({ shown, features, more, targets }: TablePreview): TemplateResult {
  const row = ({ name, values }: PreviewRow) =>
    html`<tr><th scope="row">${name}</th>${values.map((value) => html`<td>${value}</td>`)}</tr>`;
  const heads = Array.from({ length: shown }, (_, index) => html`<th scope="col">${index + 1}</th>`);
  return html`<div class="wide" role="region" aria-label="Your rows as the model sees them" tabindex="0">
    <table>
      <thead><tr><th scope="col">Feature</th>${heads}</tr></thead>
      <tbody>${features.map(row)}</tbody>
      <tbody class="targets">${targets.map(row)}</tbody>
    </table>
    ${more > 0 ? html`<p class="later">and ${more} more features</p>` : nothing}
  </div>`;
}

function gallery(pictures: readonly PicturePreview[]): TemplateResult {
  return html`<ul class="gallery">
    ${pictures.map(
      ({ label, width, height }) => html`<li>
        <canvas width=${width} height=${height} role="img" aria-label="A picture of ${label}, ${width} by ${height} pixels"></canvas>
        <small>${label}</small>
      </li>`,
    )}
  </ul>`;
}

function problemOf(error: unknown): { title: string; text: string } {
  const text = sentence(error instanceof Error ? error.message : String(error));
  const code = error instanceof FedraError ? error.code : undefined;
  if (code === 'bad-dataset') return { title: 'These files do not fit the task', text };
  if (code === 'storage-full') return { title: 'The files are not kept', text };
  if (code === 'no-storage') return { title: 'This browser stores nothing for this page', text };
  return { title: 'That did not work', text };
}

/** Files that were dropped, those in folders as well. */
async function filesOf(transfer: DataTransfer): Promise<Picked[]> {
  // The list is empty after the event. What a page itself has put there has no entry.
  const items = [...transfer.items].map((item) => ({ entry: item.webkitGetAsEntry(), file: item.getAsFile() }));
  const found = items.map(({ entry, file }) => (entry ? filesBelow(entry) : file ? [{ file, path: file.name }] : []));
  return (await Promise.all(found)).flat();
}

async function filesBelow(entry: FileSystemEntry): Promise<Picked[]> {
  if (isFile(entry)) {
    const file = await new Promise<File>((resolve, reject) => entry.file(resolve, reject));
    return [{ file, path: entry.fullPath.replace(/^\//, '') }];
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const found: Picked[] = [];
  // Each call gives some of the entries; none are left after an empty answer.
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return found;
    for (const inner of some) found.push(...(await filesBelow(inner)));
  }
}

function isFile(entry: FileSystemEntry): entry is FileSystemFileEntry {
  return entry.isFile;
}

customElements.define('fedra-own-data', OwnData);
