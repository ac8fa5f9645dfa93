/** Entries of one task in the places that outlive a client. Nothing is touched before it is used. */
import { ConsentEntry } from './consent.js';
import { KeptFiles } from './kept-files.js';
import { ResidualEntry } from './residual.js';
import { SentLog } from './sent.js';
import type { Places } from './stores.js';
import type { CheckedPlace } from './validate.js';

/** The files that are kept, and what a sparse codec has not sent. */
export function keptFiles({ address, task }: CheckedPlace, { files, residuals }: Places): KeptFiles {
  return new KeptFiles(address.socket, task, files, new ResidualEntry(address.socket, task, residuals));
}

/** The person's consent. */
export function consentTo({ address, task }: CheckedPlace, places: Places): ConsentEntry {
  return new ConsentEntry(address.socket, task, places);
}

/** The log of what was sent. */
export function sentIn({ address, task }: CheckedPlace, { sent }: Places): SentLog {
  return new SentLog(address.socket, task, sent);
}

/** Withdraws the consent, and forgets the files. Clients end even where storage fails. */
export async function revoke(place: CheckedPlace, places: Places): Promise<void> {
  await consentTo(place, places).revoke();
  await keptFiles(place, places).forget();
}
