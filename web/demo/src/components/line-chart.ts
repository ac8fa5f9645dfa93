/** Accuracy or loss over the rounds, drawn by uPlot a few times a second at most. */
import { html } from 'lit';
import type { TemplateResult } from 'lit';
import uPlot from 'uplot';
import type { HistoryPoint } from '../api.js';
import { percent } from '../words.js';
import { LightElement } from './light-element.js';

export type ChartKind = 'accuracy' | 'loss';

const DRAW_EVERY_MS = 400;

export class LineChart extends LightElement {
  static override properties = { kind: {}, points: { attribute: false } };
  declare kind: ChartKind;
  declare points: readonly HistoryPoint[];

  #plot: uPlot | undefined;
  #drawn: readonly HistoryPoint[] | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #resize = new ResizeObserver(() => this.#fit());
  readonly #scheme = matchMedia('(prefers-color-scheme: dark)');
  readonly #rebuild = () => {
    this.#plot?.destroy();
    this.#plot = undefined;
    this.#draw();
  };

  constructor() {
    super();
    this.kind = 'accuracy';
    this.points = [];
  }

  override connectedCallback(): void {
    super.connectedCallback();
    this.#scheme.addEventListener('change', this.#rebuild);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#scheme.removeEventListener('change', this.#rebuild);
    this.#resize.disconnect();
    clearTimeout(this.#timer);
    this.#plot?.destroy();
    this.#plot = undefined;
  }

  protected override render(): TemplateResult {
    const points = this.#points();
    return html`<figure class="chart">
      <figcaption>${this.kind === 'accuracy' ? 'Accuracy' : 'Loss'} <small>over rounds, on held-out digits</small><output aria-hidden="true"></output></figcaption>
      <div class="plot" role="img" aria-label=${summary(this.kind, points)}></div>
      ${points.length === 0 ? html`<p class="empty">The line begins with the first judged round.</p>` : ''}
    </figure>`;
  }

  protected override firstUpdated(): void {
    this.#resize.observe(this.#target());
  }

  protected override updated(): void {
    if (this.points === this.#drawn) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#draw();
    }, this.#plot ? DRAW_EVERY_MS : 0);
  }

  #points(): HistoryPoint[] {
    return this.points.filter((point) => point[this.kind] !== null);
  }

  #target(): HTMLElement {
    return this.querySelector<HTMLElement>('.plot') as HTMLElement;
  }

  #draw(): void {
    const points = this.#points();
    this.#drawn = this.points;
    if (points.length === 0) return;
    const data: uPlot.AlignedData = [points.map(({ round }) => round), points.map((point) => point[this.kind])];
    if (this.#plot) this.#plot.setData(data);
    else this.#plot = new uPlot(options(this.kind, this.#target(), (index) => this.#point(index)), data, this.#target());
  }

  /** Says what the pointer is over. */
  #point(index: number | null | undefined): void {
    const point = index == null ? undefined : this.#points()[index];
    const output = this.querySelector('output');
    if (output) output.textContent = point ? `Round ${point.round}: ${valueWords(this.kind, point)}` : '';
  }

  #fit(): void {
    const { clientWidth: width, clientHeight: height } = this.#target();
    if (this.#plot && width > 0) this.#plot.setSize({ width, height });
  }
}

function summary(kind: ChartKind, points: readonly HistoryPoint[]): string {
  const [first, last] = [points[0], points.at(-1)];
  if (!first || !last) return `No ${kind} yet`;
  return `${kind} from ${valueWords(kind, first)} in round ${first.round} to ${valueWords(kind, last)} in round ${last.round}`;
}

function valueWords(kind: ChartKind, point: HistoryPoint): string {
  return kind === 'accuracy' ? percent(point.accuracy ?? 0) : (point.loss ?? 0).toFixed(3);
}

function options(kind: ChartKind, target: HTMLElement, point: (index: number | null | undefined) => void): uPlot.Options {
  const style = getComputedStyle(target);
  const colour = (name: string) => style.getPropertyValue(name).trim();
  const ink = kind === 'accuracy' ? colour('--accent') : colour('--ink');
  const axis: uPlot.Axis = {
    stroke: colour('--ink-soft'),
    font: '12px -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif',
    grid: { stroke: colour('--line'), width: 1 },
    ticks: { show: false },
  };
  return {
    width: Math.max(target.clientWidth, 100),
    height: target.clientHeight,
    legend: { show: false },
    cursor: { y: false, points: { size: 7 }, drag: { x: false, y: false } },
    hooks: { setCursor: [({ cursor }) => point(cursor.idx)] },
    padding: [12, 8, 0, 0],
    scales: { x: { time: false, range: roundRange }, y: { range: kind === 'accuracy' ? accuracyRange : lossRange } },
    series: [
      {},
      {
        stroke: ink,
        width: kind === 'accuracy' ? 2.5 : 1.75,
        points: { show: (_plot, _series, from, to) => to - from < 25, size: kind === 'accuracy' ? 6 : 4, fill: ink },
        ...(kind === 'accuracy' ? { fill: fade(colour('--accent-fade'), colour('--accent-none')) } : {}),
      },
    ],
    axes: [
      { ...axis, grid: { show: false }, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000], size: 28, gap: 6 },
      {
        ...axis,
        size: 46,
        gap: 8,
        values: (_plot, splits) => splits.map((value) => (kind === 'accuracy' ? `${+(value * 100).toFixed(1)} %` : `${+value.toFixed(3)}`)),
      },
    ],
  };
}

/** One point would make a range of nothing. */
function roundRange(_plot: uPlot, least: number, most: number): uPlot.Range.MinMax {
  return most > least ? [least, most] : [least - 1, least + 1];
}

function accuracyRange(_plot: uPlot, least: number): uPlot.Range.MinMax {
  return [Math.max(0, Math.floor(least * 10 - 0.5) / 10), 1];
}

function lossRange(_plot: uPlot, _least: number, most: number): uPlot.Range.MinMax {
  return [0, Math.max(most * 1.15, 0.01)];
}

function fade(from: string, to: string): uPlot.Series.Fill {
  return (plot) => {
    const { top, height } = plot.bbox;
    const gradient = plot.ctx.createLinearGradient(0, top, 0, top + height);
    gradient.addColorStop(0, from);
    gradient.addColorStop(1, to);
    return gradient;
  };
}

customElements.define('fedra-line-chart', LineChart);
