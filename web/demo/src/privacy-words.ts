/** Texts on the protection of the visitor, for every policy. Pure. */
import type { PrivacyPolicy } from 'fedra';
import type { Protection } from './privacy.js';
import { whole } from './words.js';

/** The policy in two or three words. */
export function promise({ policy, sumsOnly }: Protection): string {
  switch (policy) {
    case 'distributed':
      return sumsOnly ? 'Hidden in a sum' : 'Noise, but no masks';
    case 'local':
      return 'Noise from your tab';
    case 'central':
      return 'Noise at the server';
    case 'none':
      return 'Nothing';
  }
}

/** The policy on a switch, where there is little room. */
export function policyLabel(policy: PrivacyPolicy | undefined): string {
  switch (policy) {
    case 'distributed':
      return 'Private: the server sees sums';
    case 'local':
      return 'Private: noise from your tab';
    case 'central':
      return 'Private: noise at the server';
    case 'none':
    case undefined:
      return 'No protection';
  }
}

/** One sentence for the top of the page, after “Protected:” or “Be aware:”. */
export function shortWords({ policy, sumsOnly }: Protection): { readonly lead: string; readonly text: string } {
  switch (policy) {
    case 'distributed':
      return sumsOnly
        ? { lead: 'Protected:', text: 'masks and noise hide your change in the sum of many; the server reads only that sum.' }
        : { lead: 'Be aware:', text: 'your change carries a share of noise, but no mask, so the server can read it one by one.' };
    case 'local':
      return { lead: 'Protected:', text: 'your tab adds noise to its change before anything is sent.' };
    case 'central':
      return { lead: 'Partly protected:', text: 'the server reads your change, and adds noise before anybody else sees the model.' };
    case 'none':
      return {
        lead: 'Be aware:',
        text: 'this task has no privacy layer, so the server can read each tab’s change, and a change can say something about the examples behind it.',
      };
  }
}

/** The way the policy works, in two or three sentences. */
export function howWords({ policy, sumsOnly, minimumSurvivors }: Protection): string {
  switch (policy) {
    case 'distributed':
      if (!sumsOnly)
        return 'Your tab adds a share of the noise to its change. Nothing masks it, so whoever receives it sees it with that share alone, which is too little to hide it.';
      return `Your tab adds its share of the noise to its change, masks it, and sends that. The masks cancel only in the sum of ${atLeast(minimumSurvivors)} changes, and the noise of all of them together hides each one.`;
    case 'local':
      return 'Your tab adds all the noise to its change by itself, before anything is sent. What leaves says little about you, whoever reads it.';
    case 'central':
      return 'Your tab limits how much its change can weigh, and sends it as it is. The server adds the noise before it gives the shared model to anyone.';
    case 'none':
      return 'No noise, no masks, no budget: the server can read this tab’s change as it is, and a change can say something about the examples behind it.';
  }
}

/** The parties that the visitor must trust, and with what. */
export function trustWords({ policy, sumsOnly, minimumSurvivors, colluders }: Protection): string {
  switch (policy) {
    case 'distributed':
      if (!sumsOnly) return 'The server, which sees your change with a small part of the noise only.';
      return `The server to keep to the protocol. It sees only sums of ${atLeast(minimumSurvivors)} changes, but it also hands out this page’s code, and it could fill a round with clients of its own. ${colludersWords(colluders)}`;
    case 'local':
      return 'Nobody who receives your change. But this page’s code adds the noise, and that comes from the server, as with every page.';
    case 'central':
      return 'The server. It sees your change before the noise, and you rely on it to add the noise and to forget the change. You need not trust those who see only the shared model.';
    case 'none':
      return 'The server, and everybody it might show your change to.';
  }
}

function colludersWords(colluders: number | null): string {
  if (colluders === null) return '';
  if (colluders === 0) return 'The figures here hold as long as none of the others in a round tells it their noise.';
  return `The figures here hold even if ${whole(colluders)} ${colluders === 1 ? 'other' : 'others'} in a round ${colluders === 1 ? 'tells' : 'tell'} it their noise.`;
}

/** The meaning of epsilon, for readers who have never heard of it. */
export function meaningWords({ policy, spent, budget, delta }: Protection): string {
  const who = policy === 'central' ? 'somebody who sees only the shared model' : 'somebody';
  const apart = delta === null ? '' : `, apart from a chance of ${oneIn(delta)}`;
  const now = spent ? `With your ε of ${epsilon(spent)}, that is at most ${fold(spent)}${apart}.` : '';
  const end = budget === null ? '' : `At the task’s limit of ${limit(budget)} it is ${fold(budget)}${now ? '' : apart}.`;
  return `Whatever ${who} took for likely about you, ε (epsilon) limits how far your rounds can move those odds. ${[now, end].filter(Boolean).join(' ')}`.trim();
}

/** The separate promise for single examples. */
export function exampleWords({ examplePrivacy }: Protection): string | undefined {
  if (!examplePrivacy) return undefined;
  return `Besides, training here hides every single example with ε ${epsilon(examplePrivacy.epsilon)} (apart from ${oneIn(examplePrivacy.delta)}). That is a promise about each example, not about you as a whole.`;
}

/** The terms that the visitor agrees to. */
export function consentWords(terms: Protection): readonly { readonly name: string; readonly text: string }[] {
  return [
    { name: 'What leaves', text: howWords(terms) },
    { name: 'What it costs', text: costWords(terms) },
    { name: 'Who you trust', text: trustWords(terms) },
  ];
}

function costWords({ round, spent, next, budget, maxParticipations, participations, delta }: Protection): string {
  const sentences: string[] = [];
  if (round !== null) sentences.push(`A round taken alone costs you ε ${epsilon(round)}.`);
  if (spent && next !== null) sentences.push(`Your rounds so far cost ${epsilon(spent)}; after the next it is ${epsilon(next)}.`);
  if (maxParticipations !== null) {
    const left = Math.max(0, maxParticipations - (participations ?? 0));
    sentences.push(`You can take part in ${whole(left)}${participations ? ' more' : ''} ${left === 1 ? 'round' : 'rounds'}.`);
  }
  if (budget !== null)
    sentences.push(
      `The task ends before anybody’s total passes ε ${limit(budget)}${delta === null ? '' : ` (apart from a chance of ${oneIn(delta)})`}.`,
    );
  return sentences.join(' ') || 'This task names no cost.';
}

function atLeast(minimum: number | null): string {
  return minimum === null ? 'many people’s' : `at least ${whole(minimum)} people’s`;
}

/** Epsilon spent, rounded up: a figure must not look better than it is. */
export function epsilon(value: number): string {
  if (value === 0) return '0';
  const digits = value < 10 ? 2 : value < 100 ? 1 : 0;
  const scale = 10 ** digits;
  // The tolerance is for values such as 1.1 that are a little more in binary.
  return (Math.ceil(value * scale - 1e-6) / scale).toFixed(digits);
}

/** A limit, as it was set. */
export function limit(value: number): string {
  return Number(value.toPrecision(4)).toString();
}

/** 1e-5 as “1 in 100 000”, which does not break over lines. */
export function oneIn(delta: number): string {
  return `1\u00a0in\u00a0${whole(1 / delta)}`;
}

/** The factor e^ε as text. */
function fold(value: number): string {
  const factor = Math.exp(value);
  if (factor > 1e6) return 'more than a million-fold, which is no protection to speak of';
  return factor < 10 ? `${(Math.ceil(factor * 10) / 10).toFixed(1)}-fold` : `${whole(Math.ceil(factor))}-fold`;
}
