/**
 * A visitor's own files on their way to the client: the classes of pictures, and what the
 * model sees of each, as texts and pixels to show. Pure.
 */
import type { Kept, ReadData, ReadOptions, TrainingFiles, TrainingImages, TrainKeptOptions } from 'fedra';
import { bytes, whole } from './words.js';

/** The task's data, as in `[task.data]` of its config. */
export interface DataDescription {
  /** `table`, `image`, `text` or `array`; a visitor has no files of another kind. */
  readonly kind: string;
  /** Classes of pictures. */
  readonly classes?: readonly string[];
  /** Columns of a table. */
  readonly columns?: readonly Column[];
  /** Names of the columns that the model predicts. */
  readonly target?: string | readonly string[];
}

interface Column {
  readonly name: string;
  readonly type: string;
  /** Values of a category in the order of their numbers. */
  readonly values?: readonly string[];
}

/** A visitor's files as the client takes them. */
export type OwnFiles = TrainingFiles | TrainingImages;

/** The page's client as own data need it. The page connects where it has to. */
export interface DataSession {
  read(data: OwnFiles, options: ReadOptions): Promise<ReadData>;
  train(data: OwnFiles, options: ReadOptions): Promise<void>;
  trainKept(options: TrainKeptOptions): Promise<void>;
  keep(): Promise<Kept>;
  kept(): Promise<Kept | null>;
  forget(): Promise<void>;
}

/** A file, and its place below what was chosen or dropped: `pictures/cat/tom.jpg`. */
export interface Picked {
  readonly file: File;
  readonly path: string;
}

/** The class that a picture's folder is called by, the innermost first. */
export function classOf(path: string, classes: readonly string[]): string | undefined {
  const folders = path.split('/').slice(0, -1);
  return folders.reverse().find((folder) => classes.includes(folder));
}

/** Pictures with their classes; `other` is the class of those whose folders name none. */
export function labelled(picked: readonly Picked[], classes: readonly string[], other: string | undefined): TrainingImages | undefined {
  const images = picked.map(({ file, path }) => ({ file, label: classOf(path, classes) ?? other }));
  const known = images.filter((image): image is { file: File; label: string } => image.label !== undefined);
  return known.length > 0 && known.length === images.length ? { images: known } : undefined;
}

/** Names of files of labels: `labels.npy`, `train-labels-idx1-ubyte`, `y_train.npy`. */
const LABELS = /label|target|^y[^a-z]/i;

/** The file of labels among arrays, by its name; undefined for an archive, which has them inside. */
export function labelsOf(picked: readonly Picked[]): Picked | undefined {
  return picked.length === 2 ? (picked.find(({ file }) => LABELS.test(file.name)) ?? picked[1]) : undefined;
}

/** Files as the client takes them. The labels of arrays are in the archive, or in a file of their own. */
export function trainingFiles(picked: readonly Picked[], labels: Picked | undefined): TrainingFiles {
  const files = picked.filter((one) => one !== labels).map(({ file }) => file);
  return { files, ...(labels ? { labels: labels.file } : {}) };
}

/** Row of a preview: a feature or the target, and its value in each example. */
export interface PreviewRow {
  readonly name: string;
  readonly values: readonly string[];
}

export interface TablePreview {
  /** Number of examples that are shown. */
  readonly shown: number;
  readonly features: readonly PreviewRow[];
  /** Features that are left out. */
  readonly more: number;
  readonly targets: readonly PreviewRow[];
}

/** Most examples and features of a preview. */
const EXAMPLES = 5;
const FEATURES = 40;

/** The first examples of a table, a row for each feature. */
export function tablePreview({ features, labels, shape, names }: ReadData, { columns = [], target = [] }: DataDescription): TablePreview {
  const [count = 0, width = 0] = shape;
  const shown = Math.min(count, EXAMPLES);
  const examples = Array.from({ length: shown }, (_, example) => example);
  const row = (name: string, value: (example: number) => string): PreviewRow => ({ name, values: examples.map(value) });
  const feature = (index: number) =>
    row(names?.[index] ?? `Feature ${index + 1}`, (example) => number(features[example * width + index] ?? 0));
  const targets = [target].flat().flatMap((name) => columns.filter((column) => column.name === name));
  return {
    shown,
    features: Array.from({ length: Math.min(width, FEATURES) }, (_, index) => feature(index)),
    more: Math.max(0, width - FEATURES),
    targets: targets.map((column, index) => row(column.name, (example) => targetOf(column, labels[example * targets.length + index] ?? 0))),
  };
}

function targetOf({ type, values }: Column, value: number): string {
  if (type === 'category') return values?.[value] ?? '(other)';
  if (type === 'boolean') return value === 1 ? 'true' : 'false';
  return number(value);
}

/** A number with at most three places. */
function number(value: number): string {
  return String(Number(value.toFixed(3))).replace('-', '−');
}

export interface PicturePreview {
  readonly label: string;
  readonly width: number;
  readonly height: number;
  /** Red, green, blue and opacity of each pixel. */
  readonly pixels: Uint8ClampedArray<ArrayBuffer>;
}

/** Pictures as the reader has cut and scaled them. Channels that were normalised are stretched to what can be seen. */
export function picturePreviews({ features, labels, shape }: ReadData, classes: readonly string[]): PicturePreview[] {
  const [count = 0, channels = 1, height = 1, width = 1] = shape;
  const size = height * width;
  const at = (picture: number, channel: number, pixel: number) => features[(picture * channels + channel) * size + pixel] ?? 0;
  const ranges = Array.from({ length: channels }, (_, channel) => {
    let [least, most] = [0, 1];
    for (let picture = 0; picture < count; picture++) {
      for (let pixel = 0; pixel < size; pixel++) {
        const value = at(picture, channel, pixel);
        least = Math.min(least, value);
        most = Math.max(most, value);
      }
    }
    return { least, span: most - least };
  });
  const shade = (picture: number, channel: number, pixel: number) => {
    const { least, span } = ranges[channel] ?? { least: 0, span: 1 };
    return (255 * (at(picture, channel, pixel) - least)) / span;
  };
  return Array.from({ length: count }, (_, picture) => {
    const pixels = new Uint8ClampedArray(4 * size);
    for (let pixel = 0; pixel < size; pixel++) {
      for (let colour = 0; colour < 3; colour++) pixels[4 * pixel + colour] = shade(picture, Math.min(colour, channels - 1), pixel);
      pixels[4 * pixel + 3] = 255;
    }
    return { label: classes[labels[picture] ?? 0] ?? '', width, height, pixels };
  });
}

const NOUNS: Readonly<Record<string, readonly [one: string, more: string]>> = {
  table: ['row', 'rows'],
  image: ['picture', 'pictures'],
  text: ['stretch of text', 'stretches of text'],
};

/** Examples of a kind of data, counted. */
export function countWords(count: number, kind: string): string {
  const [one, more] = NOUNS[kind] ?? ['example', 'examples'];
  return `${whole(count)} ${count === 1 ? one : more}`;
}

/** Files that are kept, with their size and age. */
export function keptWords({ files, bytes: size, since }: Kept, locale?: string): string {
  const day = since.toLocaleDateString(locale, { day: 'numeric', month: 'long', year: 'numeric' });
  return `${whole(files)} file${files === 1 ? '' : 's'}, ${bytes(size)}, since ${day}`;
}

/** Extent of a preview, of all examples. `drawn` is true if chance has chosen. */
export function previewWords(shown: number, all: number, kind: string, drawn: boolean): string {
  if (shown === all) return `${countWords(all, kind)}, as the model sees ${all === 1 ? 'it' : 'them'}`;
  const of = `${whole(shown)} of ${countWords(all, kind)}`;
  return drawn ? `${of}, drawn by chance, as the model sees them` : `The first ${of}, as the model sees them`;
}
