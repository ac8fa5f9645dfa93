/**
 * The data of a task as the page knows them: the description in the task's config, and the
 * parts that tabs draw from. `scripts/make-tasks.mjs` writes them into `data/tasks.json`.
 * Only `fetchTasksData` reads the network.
 */

export interface NumberColumn {
  readonly name: string;
  readonly type: 'number';
  readonly mean?: number;
  readonly deviation?: number;
  readonly min?: number;
  readonly max?: number;
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

/** `[task.data]` of a table with one column to predict, a category. */
export interface TableDescription {
  readonly kind: 'table';
  readonly target: string;
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

export type Description = TableDescription | TextDescription | ImageDescription;

export interface TaskData {
  readonly data: Description;
  /** True if the aggregator measures the model on held-out examples. */
  readonly held_out: boolean;
  /** Files, one of them for each tab; none where visitors bring their own. */
  readonly parts: readonly { readonly file: string; readonly title: string }[];
  /** Rows of a table that no tab trains on, by their columns. */
  readonly samples: readonly Readonly<Record<string, string>>[];
  readonly source: { readonly words: string; readonly licence: string } | null;
}

/** Data of tasks by their ids. A task that is not in it trains on the digits of `scripts/make-shards.mjs`. */
export type TasksData = Readonly<Record<string, TaskData>>;

/** Kind of a task's data, for the page's words and the place to try its model. */
export type DataKind = 'digits' | Description['kind'];

export function kindOf(data: TaskData | undefined): DataKind {
  return data?.data.kind ?? 'digits';
}

/** The column that a table's model predicts. */
export function targetOf({ target, columns }: TableDescription): CategoryColumn | undefined {
  return columns.find((column): column is CategoryColumn => column.name === target && column.type === 'category');
}

/** The classes of a model by their numbers; undefined where they have no names. */
export function classesOf(data: TaskData | undefined): readonly string[] | undefined {
  if (data?.data.kind === 'image') return data.data.classes;
  return data?.data.kind === 'table' ? targetOf(data.data)?.values : undefined;
}

/** A CSV file with one row. A row without a target gets one: a reader needs it, and a model does not see it. */
export function csvOf({ columns, target }: TableDescription, row: Readonly<Record<string, string>>): string {
  const values = columns.map((column) => {
    const value = row[column.name] ?? '';
    return column.name === target && value === '' && column.type === 'category' ? (column.values[0] ?? '') : value;
  });
  const line = (cells: readonly string[]) => cells.map((cell) => `"${cell.replaceAll('"', '""')}"`).join(',');
  return `${line(columns.map(({ name }) => name))}\n${line(values)}\n`;
}

/** The number of the part to train on: the one that was asked for, or one by chance. */
export function drawPart({ parts }: TaskData, wanted: number | undefined): number {
  return wanted ?? Math.floor(Math.random() * parts.length);
}

/** Downloads the descriptions; none where the page has no such file. */
export async function fetchTasksData(base: string): Promise<TasksData> {
  try {
    const response = await fetch(`${base}tasks.json`);
    return response.ok ? ((await response.json()) as TasksData) : {};
  } catch {
    return {};
  }
}
