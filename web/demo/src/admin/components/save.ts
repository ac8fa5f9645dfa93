/** Hands a file to the browser's downloads. */

export function save(file: Blob, name: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  // The browser has begun to read it by the next task; a minute is plenty.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
