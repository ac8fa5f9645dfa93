/**
 * The visitor's own pictures, each with its class. They are brought to a small size as they
 * come, so that reading them again for each change takes no time.
 */
import type { ImageDescription } from './task-data.js';

export interface Picture {
  readonly file: File;
  readonly label: string;
  /** The same, to be drawn. */
  readonly bitmap: ImageBitmap;
}

export class PictureError extends Error {}

/** Kept size, in sizes of the model's input. */
const KEPT = 4;
/** Most pictures of a class. */
export const MOST_PICTURES = 100;

/** Dispatches `change` after pictures came or went. */
export class Pictures extends EventTarget {
  #all: readonly Picture[] = [];
  #made = 0;

  get all(): readonly Picture[] {
    return this.#all;
  }

  /** Pictures of some classes. */
  of(...labels: readonly string[]): readonly Picture[] {
    return this.#all.filter((picture) => labels.includes(picture.label));
  }

  /** Adds a picture, unless its class is full. Throws a {@link PictureError} for what is no picture. */
  async add(source: ImageBitmapSource, label: string, description: ImageDescription): Promise<void> {
    if (this.of(label).length >= MOST_PICTURES) return;
    const { file, bitmap } = await small(source, `${label}-${this.#made++}.png`, description);
    this.#set([...this.#all, { file, label, bitmap }]);
  }

  /** Removes the pictures of a class, or all. */
  clear(label?: string): void {
    const gone = label === undefined ? this.#all : this.of(label);
    if (gone.length === 0) return;
    for (const { bitmap } of gone) bitmap.close();
    this.#set(this.#all.filter((picture) => !gone.includes(picture)));
  }

  #set(pictures: readonly Picture[]): void {
    this.#all = pictures;
    this.dispatchEvent(new Event('change'));
  }
}

/** A picture cut to the proportions of the model's input, as a small file. */
export async function small(
  source: ImageBitmapSource,
  name: string,
  { width, height }: ImageDescription,
): Promise<{ readonly file: File; readonly bitmap: ImageBitmap }> {
  let whole: ImageBitmap;
  try {
    whole = await createImageBitmap(source);
  } catch {
    throw new PictureError(`${source instanceof File ? source.name : 'This'} is not a picture that this browser can read`);
  }
  const canvas = new OffscreenCanvas(KEPT * width, KEPT * height);
  const pen = canvas.getContext('2d');
  if (!pen) throw new PictureError('This browser has no canvas to draw pictures on');
  const { left, top, width: wide, height: high } = cover(whole.width, whole.height, width / height);
  pen.drawImage(whole, left, top, wide, high, 0, 0, canvas.width, canvas.height);
  whole.close();
  const blob = await canvas.convertToBlob({ type: 'image/png' });
  return { file: new File([blob], name, { type: blob.type }), bitmap: canvas.transferToImageBitmap() };
}

/** The largest part in the middle of a picture that has the given proportion of width to height. */
export function cover(width: number, height: number, proportion: number) {
  const wide = Math.min(width, height * proportion);
  const high = Math.min(height, width / proportion);
  return { left: (width - wide) / 2, top: (height - high) / 2, width: wide, height: high };
}
