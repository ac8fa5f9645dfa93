/** Words of the page that differ with the kind of a task's data. Pure. */
import type { DataKind } from './task-data.js';

export interface KindWords {
  /** The treatment of the visitor's own data, in one sentence. */
  readonly sentence: string;
  /** The same of a part of public data that the tab downloads. */
  readonly ofPart?: string;
  /** This tab's examples: “this tab’s digits”. */
  readonly own: string;
  /** Examples with a count before them: “600 digits”. */
  readonly examples: string;
  /** Use of a model that is not trained further. */
  readonly use: string;
}

const KINDS: Record<DataKind, KindWords> = {
  digits: {
    sentence:
      'This tab downloads a few hundred digits from a public data set and trains on them right here: the digits and their gradients stay in the tab, only the change to the model is sent.',
    own: 'digits',
    examples: 'digits',
    use: 'draw a digit below, and it is read',
  },
  other: {
    sentence:
      'Clients train this model on arrays of their own, and send only the change to it. This page has no examples for it, and looks on.',
    own: 'examples',
    examples: 'examples',
    use: 'download it below',
  },
  table: {
    sentence:
      'You give this tab a table, and it trains on its rows right here: the rows and their gradients stay in the tab, only the change to the model is sent.',
    ofPart:
      'This tab downloads one part of a public table and trains on its rows right here: the rows and their gradients stay in the tab, only the change to the model is sent.',
    own: 'rows',
    examples: 'rows',
    use: 'fill in a row below, and it is read',
  },
  text: {
    sentence:
      'You give this tab text, and it trains on it right here: the text and its gradients stay in the tab, only the change to the model is sent.',
    ofPart:
      'This tab downloads a few chapters of a novel and trains on them right here: the text and its gradients stay in the tab, only the change to the model is sent.',
    own: 'text',
    examples: 'stretches of text',
    use: 'let it write below',
  },
  image: {
    sentence:
      'You show this tab pictures, and it trains on them right here: the pictures and their gradients stay in the tab, only the change to the model is sent.',
    own: 'pictures',
    examples: 'pictures',
    use: 'show it a picture below',
  },
  array: {
    sentence:
      'You give this tab arrays, and it trains on them right here: the arrays and their gradients stay in the tab, only the change to the model is sent.',
    own: 'examples',
    examples: 'examples',
    use: 'download it below',
  },
};

/** Words until the kind is known. */
const ANY: KindWords = {
  sentence: 'This tab trains on examples right here: they and their gradients stay in the tab, only the change to the model is sent.',
  own: 'examples',
  examples: 'examples',
  use: 'try it below',
};

/** The words for a kind, or for any. */
export function kindWords(kind: DataKind | undefined): KindWords {
  return kind === undefined ? ANY : KINDS[kind];
}
