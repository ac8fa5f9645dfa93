/**
 * Brings a drawing into MNIST's form: the ink's bounding box scaled to fit
 * 20 x 20 with its aspect kept, placed in 28 x 28 with the centre of mass in
 * the middle, 0 to 1. Pure.
 * Source: the description of MNIST by LeCun, Cortes and Burges.
 */

export const SIDE = 28;
const BOX = 20;
/** Fainter ink does not stretch the bounding box. */
const FAINT = 16;

/**
 * `ink` holds `width * height` values, 0 (paper) to 255 (ink). Returns
 * 28 * 28 values, or null where there is nothing to read.
 */
export function toDigit(ink: Uint8Array | Uint8ClampedArray, width: number, height: number): Float32Array | null {
  const box = boundingBox(ink, width, height);
  if (!box) return null;
  const scale = BOX / Math.max(box.width, box.height);
  const columns = Math.max(1, Math.round(box.width * scale));
  const rows = Math.max(1, Math.round(box.height * scale));
  const small = areaAverage(ink, width, box, columns, rows);
  return centreByMass(small, columns, rows);
}

interface Box {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

function boundingBox(ink: ArrayLike<number>, width: number, height: number): Box | null {
  let [left, top, right, bottom] = [width, height, -1, -1];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if ((ink[y * width + x] ?? 0) < FAINT) continue;
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = Math.max(bottom, y);
    }
  }
  return right < 0 ? null : { left, top, width: right - left + 1, height: bottom - top + 1 };
}

/** Each small pixel is the mean of the area it covers, edges in proportion. */
function areaAverage(ink: ArrayLike<number>, stride: number, box: Box, columns: number, rows: number): Float32Array {
  const small = new Float32Array(columns * rows);
  const [stepX, stepY] = [box.width / columns, box.height / rows];
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      let sum = 0;
      for (const [y, weightY] of overlaps(row * stepY, (row + 1) * stepY, box.height)) {
        for (const [x, weightX] of overlaps(column * stepX, (column + 1) * stepX, box.width)) {
          sum += weightY * weightX * (ink[(box.top + y) * stride + box.left + x] ?? 0);
        }
      }
      small[row * columns + column] = sum / (stepX * stepY * 255);
    }
  }
  return small;
}

/** The whole pixels that [from, to) covers, each with the share covered. */
function overlaps(from: number, to: number, limit: number): [pixel: number, share: number][] {
  const found: [number, number][] = [];
  for (let pixel = Math.floor(from); pixel < Math.min(to, limit); pixel++) {
    const share = Math.min(to, pixel + 1) - Math.max(from, pixel);
    if (share > 0) found.push([pixel, share]);
  }
  return found;
}

function centreByMass(small: Float32Array, columns: number, rows: number): Float32Array {
  let [mass, sumX, sumY] = [0, 0, 0];
  small.forEach((value, index) => {
    mass += value;
    sumX += value * ((index % columns) + 0.5);
    sumY += value * (Math.floor(index / columns) + 0.5);
  });
  const left = clamp(Math.round(SIDE / 2 - sumX / mass), SIDE - columns);
  const top = clamp(Math.round(SIDE / 2 - sumY / mass), SIDE - rows);
  const digit = new Float32Array(SIDE * SIDE);
  for (let row = 0; row < rows; row++) {
    digit.set(small.subarray(row * columns, (row + 1) * columns), (top + row) * SIDE + left);
  }
  return digit;
}

function clamp(value: number, most: number): number {
  return Math.min(Math.max(value, 0), most);
}
