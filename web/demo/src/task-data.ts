/**
 * The data of a task: the description that the aggregator has of them (`[task.data]`), and
 * what only this page has, such as parts that tabs draw from, which `scripts/make-tasks.mjs`
 * writes into `data/tasks.json`. Only `fetchPagesData` reads the network.
 */
import type { TaskSummary } from './api.js';

export interface NumberColumn {
  readonly name: string;
  readonly type: 'number';
  /** Number that becomes 0, and the difference that becomes 1; the aggregator tells `min` and `max` so, too. */
  readonly mean?: number;
  readonly deviation?: number;
  readonly fill?: number;
}

export interface CategoryColumn {
  readonly name: string;
  readonly type: 'category';
  readonly values: readonly string[];
  readonly other?: boolean;
}

export interface BooleanColumn {
  readonly name: string;
  readonly type: 'boolean';
  readonly fill?: boolean;
}

export interface DateColumn {
  readonly name: string;
  readonly type: 'date';
  readonly parts: readonly ('span' | 'year' | 'week' | 'day')[];
  readonly min?: string;
  readonly max?: string;
  readonly fill?: string;
}

export type Column = NumberColumn | CategoryColumn | BooleanColumn | DateColumn;

export interface TableDescription {
  readonly kind: 'table';
  /** Columns to predict: one, or several that are all numbers or all booleans. */
  readonly target: string | readonly string[];
  readonly columns: readonly Column[];
}

export interface TextDescription {
  readonly kind: 'text';
  /** Tokens of an example. */
  readonly context: number;
  /** Characters that are tokens; without it, tokens are bytes. */
  readonly alphabet?: string;
  /** True if one more token stands for every other character. */
  readonly other?: boolean;
}

export interface ImageDescription {
  readonly kind: 'image';
  readonly height: number;
  readonly width: number;
  readonly channels?: 1 | 3;
  readonly classes: readonly string[];
}

export interface ArrayDescription {
  readonly kind: 'array';
  readonly shape: readonly number[];
  /** Type of the numbers, by NumPy's name. */
  readonly dtype: string;
}

export type Description = TableDescription | TextDescription | ImageDescription | ArrayDescription;

/** The page's own data for a task. */
export interface PageData {
  /** Files, one of them for each tab; none where visitors bring their own. */
  readonly parts: readonly { readonly file: string; readonly title: string }[];
  /** Rows of a table that no tab trains on, by their columns. */
  readonly samples: readonly Readonly<Record<string, string>>[];
  readonly source: { readonly words: string; readonly licence: string } | null;
}

/** The page's data of tasks by their ids. */
export type PagesData = Readonly<Record<string, PageData>>;

/** Data of a task that the aggregator describes. */
export interface TaskData extends PageData {
  readonly data: Description;
}

/**
 * Kind of a task's data, for the page's words and the place to try its model. Without a
 * description it is `digits` where the model takes those of `scripts/make-shards.mjs`, and
 * `other` where it takes anything else.
 */
export type DataKind = 'digits' | 'other' | Description['kind'];

const NONE: PageData = { parts: [], samples: [], source: null };
const KINDS: readonly unknown[] = ['table', 'text', 'image', 'array'] satisfies Description['kind'][];
/** Shapes of a model's input that are a digit, joined by commas. */
const DIGITS: readonly string[] = ['784', '1,28,28'];

/** The aggregator's word on a task's data. */
export type Described = Pick<TaskSummary, 'data' | 'model'>;

/** The data of a task; undefined without a description that this page knows. */
export function dataOf({ data }: Described, page: PageData = NONE): TaskData | undefined {
  if (data === null || !KINDS.includes(data['kind'])) return undefined;
  // The aggregator has held it against its own types.
  return { ...page, data: data as unknown as Description };
}

export function kindOf(task: Described): DataKind {
  const known = dataOf(task);
  if (known) return known.data.kind;
  return task.data === null && takesDigits(task.model) ? 'digits' : 'other';
}

function takesDigits({ input, vocabulary, output, loss }: Described['model']): boolean {
  return vocabulary === null && DIGITS.includes(input.join()) && output.join() === '10' && loss === 'softmax_cross_entropy';
}

/** The columns that a table's model predicts, in their order. */
export function targetsOf({ target, columns }: TableDescription): readonly Column[] {
  return [target].flat().flatMap((name) => columns.filter((column) => column.name === name));
}

/** The columns that a table's model learns from. */
export function inputsOf(table: TableDescription): readonly Column[] {
  const targets = targetsOf(table);
  return table.columns.filter((column) => !targets.includes(column));
}

/** The classes of a model by their numbers; undefined where they have no names, and where it predicts values. */
export function classesOf(data: TaskData | undefined): readonly string[] | undefined {
  if (data?.data.kind === 'image') return data.data.classes;
  if (data?.data.kind !== 'table') return undefined;
  const [target, ...more] = targetsOf(data.data);
  if (target?.type === 'category') return target.other ? [...target.values, '(other)'] : target.values;
  return target?.type === 'boolean' && more.length === 0 ? ['no', 'yes'] : undefined;
}

/** Probabilities of classes. Of one answer the model tells that of yes alone. */
export function probabilitiesOf(outputs: Float32Array, classes: readonly string[]): Float32Array {
  const [yes = 0] = outputs;
  return outputs.length === 1 && classes.length === 2 ? Float32Array.of(1 - yes, yes) : outputs;
}

/** The number that a model's output stands for. */
export function unscaled({ mean = 0, deviation = 1 }: NumberColumn, output: number): number {
  return output * deviation + mean;
}

/** A row to begin with where there is no sample: the middle of each column as far as it is described. */
export function blankRow(table: TableDescription): Readonly<Record<string, string>> {
  return Object.fromEntries(inputsOf(table).map((column) => [column.name, beginning(column)]));
}

function beginning(column: Column): string {
  switch (column.type) {
    case 'number':
      return String(column.fill ?? column.mean ?? 0);
    case 'category':
      return column.values[0] ?? '';
    case 'boolean':
      return column.fill ? 'yes' : 'no';
    case 'date':
      return (column.fill ?? column.min ?? '2000-01-01').slice(0, 10);
  }
}

/** A CSV file with one row. A row without a target gets one: a reader needs it, and a model does not see it. */
export function csvOf(table: TableDescription, row: Readonly<Record<string, string>>): string {
  const targets = targetsOf(table);
  const values = table.columns.map((column) => {
    const value = row[column.name] ?? '';
    return value === '' && targets.includes(column) ? beginning(column) : value;
  });
  const line = (cells: readonly string[]) => cells.map((cell) => `"${cell.replaceAll('"', '""')}"`).join(',');
  return `${line(table.columns.map(({ name }) => name))}\n${line(values)}\n`;
}

/** The number of the part to train on: the one that was asked for, or one by chance. */
export function drawPart({ parts }: PageData, wanted: number | undefined): number {
  return wanted ?? Math.floor(Math.random() * parts.length);
}

/** Downloads what the page has for tasks; nothing where it has no such file. */
export async function fetchPagesData(base: string): Promise<PagesData> {
  try {
    const response = await fetch(`${base}tasks.json`);
    return response.ok ? ((await response.json()) as PagesData) : {};
  } catch {
    return {};
  }
}
