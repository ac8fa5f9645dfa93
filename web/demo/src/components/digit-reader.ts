/**
 * A pad to draw a digit on or to pick one of this tab's, and the shared model's
 * reading of it. The digit is read again whenever the model has changed.
 */

import type { TemplateResult } from 'lit';
import { html } from 'lit';
import { SIDE, toDigit } from '../preprocess.js';
import type { Session } from '../session.js';
import { example, toFeatures } from '../shard.js';
import { percent } from '../words.js';
import { LightElement } from './light-element.js';

/** Pixels of the canvas on a side: a multiple of a digit's 28. */
const PAD = 448;
/** The pen, as a share of the pad: about as thick as MNIST's. */
const PEN = 0.075;
const SAMPLES = 8;
const READ_EVERY_MS = 150;
const DIGITS = Array.from({ length: 10 }, (_, digit) => digit);

interface Point {
  readonly x: number;
  readonly y: number;
}

export class DigitReader extends LightElement {
  static override properties = {
    session: { attribute: false },
    modelHash: { attribute: false },
  };
  declare session: Session | undefined;
  declare modelHash: string | undefined;

  #strokes: Point[][] = [];
  #sample: number | undefined;
  #samples: number[] = [];
  #probabilities: Float32Array | undefined;
  #digit: Float32Array | undefined;
  #reading = false;
  #again = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Read aloud when a digit is finished, not while it is drawn. */
  #spoken = '';
  #speakNext = false;
  readonly #scheme = matchMedia('(prefers-color-scheme: dark)');
  readonly #onShard = () => this.#drawSamples();
  readonly #onScheme = () => {
    this.#paint();
    this.requestUpdate();
  };

  override connectedCallback(): void {
    super.connectedCallback();
    this.#scheme.addEventListener('change', this.#onScheme);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#scheme.removeEventListener('change', this.#onScheme);
    this.session?.removeEventListener('shard', this.#onShard);
    clearTimeout(this.#timer);
  }

  protected override willUpdate(changed: Map<string, unknown>): void {
    if (changed.has('session')) this.session?.addEventListener('shard', this.#onShard);
    if (changed.has('modelHash') && this.#digit) this.#read();
  }

  protected override render(): TemplateResult {
    return html`
      <section class="ask" aria-labelledby="ask">
        <div class="pad">
          <h2 id="ask">Ask it</h2>
          <div class="paper">
            <canvas
              width=${PAD}
              height=${PAD}
              role="img"
              aria-label="A place to draw a digit with a pointer. By keyboard, pick one of the digits that follow."
              @pointerdown=${this.#down}
              @pointermove=${this.#move}
              @pointerup=${this.#up}
              @pointercancel=${this.#up}
            ></canvas>
            ${this.#digit || this.#strokes.length > 0 ? '' : html`<span class="hint" aria-hidden="true">Draw a digit</span>`}
          </div>
          <div class="row">
            <button class="plain" @click=${this.#clear}>Clear</button>
            ${this.#samples.length > 0 ? html`<button class="plain" @click=${this.#drawSamples}>Other digits</button>` : ''}
          </div>
        </div>
        <div class="answer">
          <p class="verdict">${this.#verdict()}</p>
          <ol class="bars" aria-label="Probability of each digit">
            ${DIGITS.map((digit) => this.#bar(digit))}
          </ol>
          ${this.#sampleStrip()}
        </div>
        <div class="unseen" aria-live="polite">${this.#spoken}</div>
      </section>
    `;
  }

  protected override updated(): void {
    this.querySelectorAll<HTMLCanvasElement>('.samples canvas').forEach((canvas, position) => {
      const index = this.#samples[position];
      const shard = this.session?.shard;
      if (index !== undefined && shard) paintDigit(canvas, example(shard, index), inkColour(canvas));
    });
  }

  #verdict(): TemplateResult | string {
    const best = this.#best();
    if (best === undefined) {
      if (this.#digit && !this.modelHash) return 'The model arrives once the aggregator answers; then it reads your digit.';
      if (this.#digit && this.#reading) return 'The model is on its way; then it reads your digit.';
      return 'Draw on the left, or pick one of this tab’s digits. The model you train together reads it as you go.';
    }
    const truth = this.#sample === undefined ? '' : html` <small>Its label says ${this.session?.shard?.labels[this.#sample]}.</small>`;
    return html`<span class="read">${best}</span> <span>${percent(this.#probabilities?.[best] ?? 0, 0)} sure.${truth}</span>`;
  }

  #bar(digit: number): TemplateResult {
    const share = this.#probabilities?.[digit] ?? 0;
    const best = this.#best() === digit;
    return html`<li class=${best ? 'best' : ''}>
      <span class="column" aria-hidden="true"><span .style="transform: scaleY(${share.toFixed(3)})"></span></span>
      <span class="name">${digit}<span class="unseen">: ${percent(share, 0)}</span></span>
    </li>`;
  }

  #sampleStrip(): TemplateResult {
    if (this.#samples.length === 0) return html`<p class="later">This tab’s own digits appear here while it takes part.</p>`;
    return html`<div class="samples" role="group" aria-label="Digits of this tab">
      ${this.#samples.map(
        (index, position) => html`<button
          aria-label="Read digit ${position + 1} of ${this.#samples.length}"
          aria-pressed=${this.#sample === index}
          @click=${() => this.#pick(index)}
        ><canvas width=${SIDE} height=${SIDE}></canvas></button>`,
      )}
    </div>`;
  }

  #best(): number | undefined {
    const probabilities = this.#probabilities;
    if (!probabilities || probabilities.length !== DIGITS.length) return undefined;
    return probabilities.indexOf(Math.max(...probabilities));
  }

  #drawSamples(): void {
    const count = this.session?.shard?.count ?? 0;
    const picked = new Set<number>();
    while (picked.size < Math.min(SAMPLES, count)) picked.add(Math.floor(Math.random() * count));
    this.#samples = [...picked];
    this.requestUpdate();
  }

  #pick(index: number): void {
    const shard = this.session?.shard;
    if (!shard) return;
    this.#strokes = [];
    this.#sample = index;
    this.#digit = toFeatures(example(shard, index));
    this.#speakNext = true;
    this.#paint();
    this.#read();
    this.requestUpdate();
  }

  #clear(): void {
    this.#strokes = [];
    this.#sample = undefined;
    this.#digit = undefined;
    this.#probabilities = undefined;
    this.#spoken = '';
    this.#paint();
    this.requestUpdate();
  }

  #down(event: PointerEvent): void {
    if (event.button !== 0) return;
    if (this.#sample !== undefined) this.#clear();
    this.#canvas().setPointerCapture(event.pointerId);
    this.#strokes.push([]);
    this.#move(event);
    this.requestUpdate();
  }

  #move(event: PointerEvent): void {
    const stroke = this.#strokes.at(-1);
    const canvas = this.#canvas();
    if (!stroke || !canvas.hasPointerCapture(event.pointerId)) return;
    const box = canvas.getBoundingClientRect();
    stroke.push({ x: ((event.clientX - box.left) / box.width) * PAD, y: ((event.clientY - box.top) / box.height) * PAD });
    this.#paint();
    this.#timer ??= setTimeout(() => this.#finish(), READ_EVERY_MS);
  }

  #up(event: PointerEvent): void {
    if (!this.#canvas().hasPointerCapture(event.pointerId)) return;
    this.#canvas().releasePointerCapture(event.pointerId);
    this.#speakNext = true;
    this.#timer ??= setTimeout(() => this.#finish(), READ_EVERY_MS);
  }

  #finish(): void {
    this.#timer = undefined;
    if (this.#strokes.length === 0) return;
    const { data } = context(this.#canvas()).getImageData(0, 0, PAD, PAD);
    // The drawing is opaque ink on nothing, so its alpha is the ink.
    const ink = new Uint8Array(PAD * PAD);
    for (let pixel = 0; pixel < ink.length; pixel++) ink[pixel] = data[4 * pixel + 3] ?? 0;
    this.#digit = toDigit(ink, PAD, PAD) ?? undefined;
    this.#read();
  }

  /** Reads the digit, one question at a time. A change meanwhile leads to another. */
  #read(): void {
    if (this.#reading) {
      this.#again = true;
      return;
    }
    const digit = this.#digit;
    if (!digit || !this.session) return;
    this.#reading = true;
    this.requestUpdate();
    void this.session.predict(digit).then((probabilities) => {
      this.#reading = false;
      if (this.#digit) this.#show(probabilities);
      if (this.#again) {
        this.#again = false;
        this.#read();
      }
    });
  }

  #show(probabilities: Float32Array | null): void {
    this.#probabilities = probabilities ?? undefined;
    const best = this.#best();
    if (this.#speakNext && best !== undefined) {
      this.#spoken = `The model reads ${best}, ${percent(this.#probabilities?.[best] ?? 0, 0)} sure.`;
      this.#speakNext = false;
    }
    this.requestUpdate();
  }

  #canvas(): HTMLCanvasElement {
    return this.querySelector<HTMLCanvasElement>('.paper canvas') as HTMLCanvasElement;
  }

  #paint(): void {
    const canvas = this.#canvas();
    const shard = this.session?.shard;
    if (this.#sample !== undefined && shard) {
      paintDigit(canvas, example(shard, this.#sample), inkColour(canvas));
      return;
    }
    const pen = context(canvas);
    pen.clearRect(0, 0, PAD, PAD);
    pen.strokeStyle = inkColour(canvas);
    pen.lineWidth = PEN * PAD;
    pen.lineCap = pen.lineJoin = 'round';
    for (const [first, ...rest] of this.#strokes) {
      if (!first) continue;
      pen.beginPath();
      pen.moveTo(first.x, first.y);
      // A tap is a dot.
      if (rest.length === 0) pen.lineTo(first.x, first.y + 0.01);
      for (const { x, y } of rest) pen.lineTo(x, y);
      pen.stroke();
    }
  }
}

function context(canvas: HTMLCanvasElement): CanvasRenderingContext2D {
  return canvas.getContext('2d', { willReadFrequently: true }) as CanvasRenderingContext2D;
}

function inkColour(canvas: HTMLCanvasElement): string {
  return getComputedStyle(canvas).color;
}

/** Paints grey values over the whole canvas, in the page's ink. */
function paintDigit(canvas: HTMLCanvasElement, pixels: Uint8Array, colour: string): void {
  const pen = context(canvas);
  const size = canvas.width / SIDE;
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.fillStyle = colour;
  pixels.forEach((value, index) => {
    if (value === 0) return;
    pen.globalAlpha = value / 255;
    pen.fillRect((index % SIDE) * size, Math.floor(index / SIDE) * size, size, size);
  });
  pen.globalAlpha = 1;
}

customElements.define('fedra-digit-reader', DigitReader);
