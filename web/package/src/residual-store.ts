/** A browser's place for parts of updates that have not been sent. Nothing is touched before it is used. */
import { KeyedStore } from './keyed-store.js';
import type { OwnedBytes } from './stores.js';

/** Longest wait for a client of the page before, which may not have ended yet. */
const LOCK_WAIT_MS = 2000;

class Residuals extends KeyedStore<Uint8Array> implements OwnedBytes {
  lock(name: string): Promise<boolean> {
    const { locks } = navigator;
    // Only a secure context has them.
    if (locks === undefined) return Promise.resolve(false);
    return new Promise((resolve) => {
      const held = locks.request(name, { signal: AbortSignal.timeout(LOCK_WAIT_MS) }, () => {
        resolve(true);
        return new Promise<never>(() => undefined);
      });
      held.catch(() => resolve(false));
    });
  }
}

export const RESIDUALS: OwnedBytes = new Residuals('fedra-residuals', 'residuals');
