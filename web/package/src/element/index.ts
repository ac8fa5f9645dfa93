/** The element `<fedra-trainer>`, which importing this registers. */
import { FedraTrainer } from './trainer.js';

export type { TrainerStrings, TrainerStringsChanges } from './strings.js';
export type { TrainerConsent, TrainerData, TrainerDataSource, TrainerOptions } from './trainer.js';
export { FedraTrainer };

declare global {
  interface HTMLElementTagNameMap {
    'fedra-trainer': FedraTrainer;
  }
}

// Two bundles of one page may both have it.
if (globalThis.customElements && !customElements.get('fedra-trainer')) customElements.define('fedra-trainer', FedraTrainer);
