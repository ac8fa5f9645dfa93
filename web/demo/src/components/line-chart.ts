/**
 * Figures over the rounds, drawn by uPlot a few times a second at most. With the
 * attribute `newest` the caption has the newest figures.
 */

import type { PropertyValues, TemplateResult } from 'lit';
import { html, nothing } from 'lit';
import uPlot from 'uplot';
import type { Chart, ChartKind, ChartPoint } from '../chart-kinds.js';
import { CHARTS, drawable, pointWords, summary } from '../chart-kinds.js';
import { LightElement } from './light-element.js';

const DRAW_EVERY_MS = 400;

export class LineChart extends LightElement {
  static override properties = { kind: {}, newest: { type: Boolean }, points: { attribute: false } };
  declare kind: ChartKind;
  declare newest: boolean;
  declare points: readonly ChartPoint[];

  #plot: uPlot | undefined;
  #drawn: readonly ChartPoint[] | undefined;
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
    this.newest = false;
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
    const chart = CHARTS[this.kind];
    const points = drawable(chart, this.points);
    return html`<figure class="chart">
      <figcaption>${chart.title} <small>${chart.note}</small><output aria-hidden="true"></output>${
        this.newest ? newest(chart, points.at(-1)) : nothing
      }</figcaption>
      <div class="plot" role="img" aria-label=${summary(chart, points)}></div>
      ${points.length === 0 ? html`<p class="empty">${chart.empty}</p>` : ''}
    </figure>`;
  }

  protected override firstUpdated(): void {
    this.#resize.observe(this.#target());
  }

  protected override updated(changed: PropertyValues<this>): void {
    if (changed.has('kind') && this.#plot) return this.#rebuild();
    if (this.points === this.#drawn) return;
    this.#timer ??= setTimeout(
      () => {
        this.#timer = undefined;
        this.#draw();
      },
      this.#plot ? DRAW_EVERY_MS : 0,
    );
  }

  #target(): HTMLElement {
    return this.querySelector<HTMLElement>('.plot') as HTMLElement;
  }

  #draw(): void {
    const chart = CHARTS[this.kind];
    const points = drawable(chart, this.points);
    this.#drawn = this.points;
    if (points.length === 0) {
      this.#plot?.destroy();
      this.#plot = undefined;
      return;
    }
    const lines = chart.lines.map((line) => points.map((point) => line.value(point)));
    const data: uPlot.AlignedData = [points.map(({ round }) => round), ...lines];
    if (this.#plot) this.#plot.setData(data);
    else
      this.#plot = new uPlot(
        options(chart, this.#target(), (index) => this.#point(index)),
        data,
        this.#target(),
      );
  }

  /** Shows the figures of the round below the pointer. */
  #point(index: number | null | undefined): void {
    const chart = CHARTS[this.kind];
    const point = index == null ? undefined : drawable(chart, this.points)[index];
    const output = this.querySelector('output');
    if (output) output.textContent = point ? `Round ${point.round}: ${pointWords(chart, point)}` : '';
  }

  #fit(): void {
    const { clientWidth: width, clientHeight: height } = this.#target();
    if (this.#plot && width > 0) this.#plot.setSize({ width, height });
  }
}

/** The figures of the last point, with the lines' names if there are several. */
function newest(chart: Chart, point: ChartPoint | undefined): TemplateResult {
  const several = chart.lines.length > 1;
  return html`<span class="newest">${chart.lines.map((line) => {
    const value = point && line.value(point);
    return html`<span data-ink=${several ? line.ink : nothing}>${value == null ? '–' : chart.words(value)}${several ? html` <small>${line.name}</small>` : nothing}</span>`;
  })}</span>`;
}

function options(chart: Chart, target: HTMLElement, point: (index: number | null | undefined) => void): uPlot.Options {
  const style = getComputedStyle(target);
  const colour = (name: string) => style.getPropertyValue(name).trim();
  const axis: uPlot.Axis = {
    stroke: colour('--ink-soft'),
    font: '12px -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif',
    grid: { stroke: colour('--line'), width: 1 },
    ticks: { show: false },
  };
  const series = chart.lines.map(({ ink, width, filled }): uPlot.Series => {
    const stroke = colour(`--${ink}`);
    return {
      stroke,
      width,
      points: { show: (_plot, _series, from, to) => to - from < 25, size: width > 2 ? 6 : 4, fill: stroke },
      ...(filled ? { fill: fade(colour('--accent-fade'), colour('--accent-none')) } : {}),
    };
  });
  return {
    width: Math.max(target.clientWidth, 100),
    height: target.clientHeight,
    legend: { show: false },
    cursor: { y: false, points: { size: 7 }, drag: { x: false, y: false } },
    hooks: { setCursor: [({ cursor }) => point(cursor.idx)] },
    padding: [12, 8, 0, 0],
    scales: { x: { time: false, range: roundRange }, y: { range: (_plot, least, most) => chart.range(least, most) } },
    series: [{}, ...series],
    axes: [
      { ...axis, grid: { show: false }, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000], size: 28, gap: 6 },
      {
        ...axis,
        size: 54,
        gap: 8,
        values: (_plot, splits) => splits.map((value) => chart.short(value)),
      },
    ],
  };
}

/** The range of rounds, widened for a single point. */
function roundRange(_plot: uPlot, least: number, most: number): uPlot.Range.MinMax {
  return most > least ? [least, most] : [least - 1, least + 1];
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
