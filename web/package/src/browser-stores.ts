/** The places of a browser: localStorage and IndexedDB. Nothing is touched before it is used. */
import { KeyedStore } from './keyed-store.js';
import { RESIDUALS } from './residual-store.js';
import type { Places } from './stores.js';

export const BROWSER: Places = {
  name: '',
  texts: {
    getItem: (key) => localStorage.getItem(key),
    setItem: (key, text) => localStorage.setItem(key, text),
  },
  files: new KeyedStore('fedra', 'files'),
  residuals: RESIDUALS,
  consents: new KeyedStore('fedra-consent', 'consents'),
  sent: new KeyedStore('fedra-sent', 'sent'),
};
