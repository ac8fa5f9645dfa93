/**
 * The visitor's own classes: pictures of each, by camera or from files, and the shared
 * model's word on what the camera sees. Pictures and camera stay in the page.
 */

import { FedraError } from 'fedra';
import type { TemplateResult } from 'lit';
import { html, nothing } from 'lit';
import { CameraError, closeCamera, openCamera } from '../camera.js';
import { cover, MOST_PICTURES, PictureError, small } from '../pictures.js';
import type { Session } from '../session.js';
import type { ImageDescription, TaskData } from '../task-data.js';
import { percent, sentence, whole } from '../words.js';
import { LightElement } from './light-element.js';
import { bestOf, shares } from './shares.js';

/** Pictures of one press of the button, and the time between two. */
const BURST = 8;
const BURST_MS = 150;
/** Least time between two questions about what the camera sees. */
const LOOK_MS = 400;
/** Thumbnails of a class that are shown, the newest. */
const SHOWN = 6;
/** Least time between two announcements to a screen reader. */
const SPEAK_MS = 10_000;

export class PictureTeacher extends LightElement {
  static override properties = {
    session: { attribute: false },
    data: { attribute: false },
    modelHash: { attribute: false },
    count: { attribute: false },
  };
  declare session: Session | undefined;
  declare data: TaskData | undefined;
  declare modelHash: string | undefined;
  /** Pictures so far: drawn again when it changes. */
  declare count: number;

  #stream: MediaStream | undefined;
  #opening = false;
  /** The class that is being photographed. */
  #taking: string | undefined;
  /** The class over which a file is dragged; empty for the question. */
  #over: string | undefined;
  #problem: string | undefined;
  #probabilities: Float32Array | undefined;
  /** A file that was asked about in place of the camera. */
  #asked: { readonly file: File; readonly bitmap: ImageBitmap } | undefined;
  #looking = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #spoken = '';
  #spokenAt = -Infinity;

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#closeCamera();
    clearTimeout(this.#timer);
  }

  protected override willUpdate(changed: Map<string, unknown>): void {
    if (changed.has('modelHash') && this.#asked && !this.#stream) void this.#look();
  }

  protected override render(): TemplateResult | typeof nothing {
    const description = this.#description();
    if (!description) return nothing;
    return html`
      <section class="ask teacher" aria-labelledby="ask">
        <div class="pad">
          <h2 id="ask">Teach it</h2>
          <div class="paper" data-over=${this.#over === '' ? 'true' : nothing} @dragover=${(event: DragEvent) => this.#drag(event, '')} @dragleave=${this.#leave} @drop=${(event: DragEvent) => void this.#drop(event, '')}>
            <video playsinline muted ?hidden=${!this.#stream} aria-label="The camera"></video>
            <canvas class="asked" width=${description.width} height=${description.height} ?hidden=${!!this.#stream || !this.#asked} role="img" aria-label="The picture, as the model sees it"></canvas>
            ${this.#stream || this.#asked ? nothing : html`<span class="hint">The camera shows here, or drop a picture to ask about it</span>`}
          </div>
          <div class="row">
            <button class="plain" id="camera" aria-pressed=${this.#stream !== undefined} ?disabled=${this.#opening} @click=${this.#toggleCamera}>
              ${this.#stream ? 'Switch the camera off' : 'Use the camera'}
            </button>
            ${this.#stream ? nothing : fileButton('Ask about a picture', false, (files) => void this.#ask(files))}
          </div>
          <div role="alert">${this.#problem ? html`<p class="later">${sentence(this.#problem)}</p>` : nothing}</div>
        </div>
        <div class="answer">
          <p class="verdict">${this.#verdict(description)}</p>
          ${shares(description.classes, this.#probabilities, 'Probability of each class')}
          <ul class="lessons">
            ${description.classes.map((label) => this.#lesson(label, description))}
          </ul>
          <p class="later">Show pictures of at least two classes, some ten of each. Where a class has no more than a letter, it is what you make of it: a face, a mug, an empty chair. They stay in this tab.</p>
        </div>
        <div class="unseen" aria-live="polite">${this.#spoken}</div>
      </section>
    `;
  }

  protected override updated(): void {
    const description = this.#description();
    if (!description) return;
    for (const canvas of this.querySelectorAll<HTMLCanvasElement>('canvas[data-label]')) {
      const pictures = this.#pictures(canvas.dataset['label'] ?? '');
      paint(canvas, pictures.at(-1 - Number(canvas.dataset['place']))?.bitmap);
    }
    const asked = this.querySelector<HTMLCanvasElement>('canvas.asked');
    if (asked) paint(asked, this.#asked?.bitmap);
    if (this.#stream) this.#lookSoon();
  }

  #lesson(label: string, { width, height }: ImageDescription): TemplateResult {
    const count = this.#pictures(label).length;
    const full = count >= MOST_PICTURES;
    return html`<li
      data-over=${this.#over === label ? 'true' : nothing}
      @dragover=${(event: DragEvent) => this.#drag(event, label)}
      @dragleave=${this.#leave}
      @drop=${(event: DragEvent) => void this.#drop(event, label)}
    >
      <span class="name">${label}</span>
      <span class="amount">${count === 0 ? 'no pictures yet' : `${whole(count)} ${count === 1 ? 'picture' : 'pictures'}${full ? ', which is all it takes' : ''}`}</span>
      <span class="thumbs" aria-hidden="true">
        ${Array.from(
          { length: Math.min(SHOWN, count) },
          (_, place) => html`<canvas width=${width} height=${height} data-label=${label} data-place=${place}></canvas>`,
        )}
      </span>
      <span class="row">
        ${
          this.#stream
            ? html`<button class="plain" ?disabled=${this.#taking !== undefined || full} @click=${() => void this.#burst(label)}>
                ${this.#taking === label ? 'Looking' : `Take ${BURST} pictures`}<span class="unseen"> of ${label}</span>
              </button>`
            : nothing
        }
        ${fileButton(html`Add files<span class="unseen"> to ${label}</span>`, true, (files) => void this.#add(files, label))}
        ${count > 0 ? html`<button class="plain" @click=${() => this.session?.pictures.clear(label)}>Forget<span class="unseen"> ${label}</span></button>` : nothing}
      </span>
    </li>`;
  }

  #verdict({ classes }: ImageDescription): TemplateResult | string {
    const best = bestOf(this.#probabilities, classes);
    if (best === undefined) {
      if (this.#looking) return 'The model is on its way; then it looks.';
      return 'Collect pictures of your classes, start the training, and the model says which one it sees.';
    }
    return html`<span class="read words">${classes[best]}</span> <span>${percent(this.#probabilities?.[best] ?? 0, 0)} sure.</span>`;
  }

  #description(): ImageDescription | undefined {
    return this.data?.data.kind === 'image' ? this.data.data : undefined;
  }

  #pictures(label: string) {
    return this.session?.pictures.of(label) ?? [];
  }

  #video(): HTMLVideoElement {
    return this.querySelector('video') as HTMLVideoElement;
  }

  async #toggleCamera(): Promise<void> {
    if (this.#stream) return this.#closeCamera();
    this.#opening = true;
    this.#problem = undefined;
    this.requestUpdate();
    try {
      const stream = await openCamera(this.#video());
      // The element may have gone while the visitor was asked.
      if (!this.isConnected) return closeCamera(stream);
      this.#stream = stream;
      for (const track of stream.getTracks()) track.addEventListener('ended', () => this.#closeCamera());
    } catch (error) {
      if (!(error instanceof CameraError)) throw error;
      this.#problem = error.message;
    } finally {
      this.#opening = false;
      this.requestUpdate();
    }
  }

  #closeCamera(): void {
    if (this.#stream) closeCamera(this.#stream);
    this.#stream = undefined;
    this.#probabilities = undefined;
    this.requestUpdate();
  }

  async #burst(label: string): Promise<void> {
    this.#taking = label;
    this.requestUpdate();
    for (let taken = 0; taken < BURST && this.#stream; taken++) {
      await this.#keep(this.#video(), label);
      await new Promise((resolve) => setTimeout(resolve, BURST_MS));
    }
    this.#taking = undefined;
    this.requestUpdate();
  }

  async #add(files: readonly File[], label: string): Promise<void> {
    for (const file of files) await this.#keep(file, label);
  }

  async #keep(source: ImageBitmapSource, label: string): Promise<void> {
    const description = this.#description();
    if (!description || !this.session) return;
    try {
      await this.session.pictures.add(source, label, description);
      this.#problem = undefined;
    } catch (error) {
      if (!(error instanceof PictureError)) throw error;
      this.#problem = error.message;
    }
    this.requestUpdate();
  }

  async #ask([file]: readonly File[]): Promise<void> {
    const description = this.#description();
    if (!file || !description) return;
    try {
      this.#asked = await small(file, file.name, description);
      this.#problem = undefined;
      await this.#look();
    } catch (error) {
      if (!(error instanceof PictureError)) throw error;
      this.#problem = error.message;
    }
    this.requestUpdate();
  }

  #drag(event: DragEvent, label: string): void {
    event.preventDefault();
    if (this.#over === label) return;
    this.#over = label;
    this.requestUpdate();
  }

  readonly #leave = (): void => {
    this.#over = undefined;
    this.requestUpdate();
  };

  async #drop(event: DragEvent, label: string): Promise<void> {
    event.preventDefault();
    this.#leave();
    const files = [...(event.dataTransfer?.files ?? [])];
    await (label === '' ? this.#ask(files) : this.#add(files, label));
  }

  #lookSoon(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      if (this.#stream && document.visibilityState === 'visible') void this.#look();
      else if (this.#stream) this.requestUpdate();
    }, LOOK_MS);
  }

  /** Asks the newest model about the camera's picture, or about the file. */
  async #look(): Promise<void> {
    const { session } = this;
    const description = this.#description();
    const [label] = description?.classes ?? [];
    if (!session || !description || label === undefined || this.#looking) return;
    this.#looking = true;
    try {
      const file = this.#stream ? (await small(this.#video(), 'the camera', description)).file : this.#asked?.file;
      // A reader needs a class; the model does not see it.
      const read = file && (await session.read({ images: [{ file, label }] }));
      const probabilities = read && (await session.predict(read.features));
      if (probabilities) this.#show(probabilities, description.classes);
    } catch (error) {
      if (!(error instanceof FedraError || error instanceof PictureError)) throw error;
      this.#problem = error.message;
    } finally {
      this.#looking = false;
      this.requestUpdate();
    }
  }

  #show(probabilities: Float32Array, classes: readonly string[]): void {
    this.#probabilities = probabilities;
    const best = bestOf(probabilities, classes);
    if (best === undefined || performance.now() - this.#spokenAt < SPEAK_MS) return;
    this.#spokenAt = performance.now();
    this.#spoken = `The model says ${classes[best]}, ${percent(probabilities[best] ?? 0, 0)} sure.`;
  }
}

/** A button that lets the visitor choose picture files. */
function fileButton(words: TemplateResult | string, multiple: boolean, take: (files: readonly File[]) => void): TemplateResult {
  const chosen = ({ target }: Event) => {
    const input = target as HTMLInputElement;
    take([...(input.files ?? [])]);
    // The same file may be chosen again.
    input.value = '';
  };
  return html`<label class="plain file">${words}<input class="unseen" type="file" accept="image/*" ?multiple=${multiple} @change=${chosen} /></label>`;
}

function paint(canvas: HTMLCanvasElement, bitmap: ImageBitmap | undefined): void {
  const pen = canvas.getContext('2d');
  if (!pen || !bitmap || bitmap.width === 0) return;
  const { left, top, width, height } = cover(bitmap.width, bitmap.height, canvas.width / canvas.height);
  pen.drawImage(bitmap, left, top, width, height, 0, 0, canvas.width, canvas.height);
}

customElements.define('fedra-picture-teacher', PictureTeacher);
