/** Metrics of models for people: the one that a task shows first, and the others. Pure. */
import type { Classes, Headline, Metrics } from './generated/http-api.js';
import { percent } from './words.js';

/** A metric as a page shows it. */
export interface Metric {
  readonly title: string;
  words(value: number): string;
}

/** The words around a task's first metric: “The shared model reads / 91 % / of test examples it has never seen”. */
export interface HeadlineMetric extends Metric {
  readonly lead: string;
  /** The words after the value; `examples` is what the test has, such as “digits”. */
  of(examples: string): string;
  /** A value among others. */
  inline(value: number): string;
}

const decimal = (value: number) => value.toFixed(3);
const whole = (value: number) => value.toPrecision(3);

export const HEADLINES: Record<Headline, HeadlineMetric> = {
  accuracy: {
    title: 'Accuracy',
    words: percent,
    lead: 'The shared model reads',
    of: (examples) => `of test ${examples} it has never seen`,
    inline: percent,
  },
  bits_per_token: {
    title: 'Bits a token',
    words: decimal,
    lead: 'The shared model needs',
    of: () => 'bits for each token of text it has never seen',
    inline: (value) => `${decimal(value)} bits a token`,
  },
  rmse: {
    title: 'RMSE',
    words: whole,
    lead: 'The shared model is off by',
    of: (examples) => `on ${examples} it has never seen; the root of the mean squared error`,
    inline: (value) => `RMSE ${whole(value)}`,
  },
};

const OTHERS: readonly (readonly [Exclude<keyof Metrics, 'loss'>, Metric])[] = [
  ['accuracy', HEADLINES.accuracy],
  ['top_5_accuracy', { title: 'Among its top 5', words: percent }],
  ['macro_f1', { title: 'Macro F1', words: decimal }],
  ['auc', { title: 'AUC', words: decimal }],
  ['bits_per_token', HEADLINES.bits_per_token],
  ['perplexity', { title: 'Perplexity', words: whole }],
  ['rmse', HEADLINES.rmse],
  ['mae', { title: 'Mean error', words: whole }],
  ['r2', { title: 'R²', words: decimal }],
];

/** The value of the metric that is shown first. */
export function headlineOf(metrics: Metrics, headline: Headline): number | null {
  return metrics[headline] ?? null;
}

/** Titles and values of the other metrics that are there, except the loss. */
export function otherMetrics(metrics: Metrics, headline: Headline): readonly (readonly [string, string])[] {
  return OTHERS.flatMap(([name, metric]) => {
    const value = metrics[name];
    return name === headline || value == null ? [] : [[metric.title, metric.words(value)] as const];
  });
}

/** Most classes that are shown, and for which the matrix is drawn. */
export const MOST_CLASSES = 12;

/** Numbers of the classes in the order in which they are shown: the least found first if there are many. */
export function shownClasses({ metrics }: Classes): readonly number[] {
  const numbers = metrics.map((_, number) => number);
  if (numbers.length <= MOST_CLASSES) return numbers;
  // A class without examples is found neither well nor badly.
  const recall = (number: number) => metrics[number]?.recall ?? 2;
  return numbers.sort((a, b) => recall(a) - recall(b)).slice(0, MOST_CLASSES);
}

/** The part of a class's examples that is taken for one class, 0 to 1. */
export function partOf(count: number, row: readonly number[]): number {
  const all = row.reduce((sum, value) => sum + value, 0);
  return all === 0 ? 0 : count / all;
}
