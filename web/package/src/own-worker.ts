/** The package's own worker. In exactly this form bundlers find it, and rewrite its address. */
export function own(): Worker {
  return new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
}
