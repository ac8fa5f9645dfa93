/** Figures of the element in a person's language. Pure. */

const UNITS = ['byte', 'kilobyte', 'megabyte', 'gigabyte'] as const;

/** Bytes in decimal units. */
export function bytesIn(language: string, bytes: number): string {
  const step = Math.min(UNITS.length - 1, bytes < 1000 ? 0 : Math.floor(Math.log10(bytes) / 3));
  const options = { style: 'unit', unit: UNITS[step] ?? 'byte', maximumFractionDigits: step === 0 ? 0 : 1 } as const;
  return new Intl.NumberFormat(language, options).format(bytes / 1000 ** step);
}

/** Epsilon that was spent, rounded up: a figure must not look better than it is. */
export function epsilonIn(language: string, value: number): string {
  // The tolerance is for values such as 1.1 that are a little more in binary.
  const shown = Math.max(0, Math.ceil(value * 100 - 1e-6)) / 100;
  return new Intl.NumberFormat(language, { maximumFractionDigits: 2 }).format(shown);
}

/** A limit, as it was set. */
export function limitIn(language: string, value: number): string {
  return new Intl.NumberFormat(language, { maximumSignificantDigits: 4 }).format(value);
}

/** Date and time of an entry. */
export function timeIn(language: string, time: Date): string {
  return new Intl.DateTimeFormat(language, { dateStyle: 'short', timeStyle: 'short' }).format(time);
}
