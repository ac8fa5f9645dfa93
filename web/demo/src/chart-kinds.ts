/** Charts over rounds: their lines, words and scales. Pure. */
import type { HistoryPoint } from './api.js';
import type { Headline } from './generated/http-api.js';
import { HEADLINES, headlineOf } from './metrics.js';
import { bytes } from './words.js';

export type ChartKind = Headline | 'loss' | 'seconds' | 'bytes';

/** A round in a chart. A figure that is absent is not drawn. */
export interface ChartPoint extends HistoryPoint {
  /** Accepted updates. A roll-back has none, and neither time nor traffic of its own. */
  readonly reports?: number;
  readonly seconds?: number;
  readonly bytes_up?: number;
  readonly bytes_down?: number;
}

export interface ChartLine {
  /** The line's name, told beside a chart of several lines. */
  readonly name: string;
  readonly ink: 'accent' | 'ink';
  readonly width: number;
  readonly filled: boolean;
  value(point: ChartPoint): number | null;
}

export interface Chart {
  readonly title: string;
  readonly note: string;
  /** Text in place of a chart without points. */
  readonly empty: string;
  readonly lines: readonly ChartLine[];
  /** A value for a person. */
  words(value: number): string;
  /** A value at the axis, where there is little room. */
  short(value: number): string;
  range(least: number, most: number): [number, number];
}

const worked = ({ reports }: ChartPoint) => reports !== 0;
const fromZero = (_least: number, most: number): [number, number] => [0, Math.max(most * 1.15, 0.01)];
const strong = { ink: 'accent', width: 2.5, filled: true } as const;
const plain = { ink: 'ink', width: 1.75, filled: false } as const;

/** The chart of a task's first metric. */
function headline(kind: Headline): Chart {
  const { title, words } = HEADLINES[kind];
  return {
    title,
    words,
    note: 'over rounds, on held-out examples',
    empty: 'The line begins with the first judged round.',
    lines: [{ name: title.toLowerCase(), ...strong, value: (point) => headlineOf(point, kind) }],
    short: (value) => `${+value.toPrecision(3)}`,
    range: fromZero,
  };
}

export const CHARTS: Record<ChartKind, Chart> = {
  accuracy: {
    ...headline('accuracy'),
    short: (value) => `${+(value * 100).toFixed(1)} %`,
    range: (least) => [Math.max(0, Math.floor(least * 10 - 0.5) / 10), 1],
  },
  bits_per_token: headline('bits_per_token'),
  rmse: headline('rmse'),
  loss: {
    title: 'Loss',
    note: 'over rounds, on held-out examples',
    empty: 'The line begins with the first judged round.',
    lines: [{ name: 'loss', ...plain, value: ({ loss }) => loss }],
    words: (value) => value.toFixed(3),
    short: (value) => `${+value.toFixed(3)}`,
    range: fromZero,
  },
  seconds: {
    title: 'Seconds a round',
    note: 'from the invitation to the last update',
    empty: 'The line begins with the first completed round.',
    lines: [{ name: 'seconds', ...plain, value: (point) => (worked(point) ? (point.seconds ?? null) : null) }],
    words: (value) => `${value.toFixed(1)} s`,
    short: (value) => `${+value.toFixed(2)} s`,
    range: fromZero,
  },
  bytes: {
    title: 'Bytes a round',
    note: 'all clients together',
    empty: 'The lines begin with the first completed round.',
    lines: [
      { name: 'from clients', ...strong, filled: false, value: (point) => (worked(point) ? (point.bytes_up ?? null) : null) },
      { name: 'to clients', ...plain, value: (point) => (worked(point) ? (point.bytes_down ?? null) : null) },
    ],
    words: bytes,
    short: bytes,
    range: fromZero,
  },
};

/** The points that have something to draw. */
export function drawable(chart: Chart, points: readonly ChartPoint[]): readonly ChartPoint[] {
  return points.filter((point) => chart.lines.some((line) => line.value(point) !== null));
}

/** A point's values for a person: “3.2 MB from clients, 4.1 MB to clients”. */
export function pointWords(chart: Chart, point: ChartPoint): string {
  const values = chart.lines.map((line) => {
    const value = line.value(point) ?? 0;
    return chart.lines.length === 1 ? chart.words(value) : `${chart.words(value)} ${line.name}`;
  });
  return values.join(', ');
}

/** The chart as text, for screen readers. */
export function summary(chart: Chart, points: readonly ChartPoint[]): string {
  const [first, last] = [points[0], points.at(-1)];
  if (!first || !last) return `No ${chart.title.toLowerCase()} yet`;
  return `${chart.title} from ${pointWords(chart, first)} in round ${first.round} to ${pointWords(chart, last)} in round ${last.round}`;
}
