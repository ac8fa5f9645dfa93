/** Texts of the element in English and German. A page may replace each. */
import type { PrivacyPolicy, SessionState, StatusReason } from '../events.js';
import { GERMAN } from './german.js';

/** Texts by name; `{name}` stands for a value. */
export interface TrainerStrings {
  readonly title: string;
  readonly invitation: string;
  readonly takePart: string;
  readonly starting: string;
  readonly askTitle: string;
  readonly agree: string;
  readonly decline: string;
  readonly version: string;
  readonly pause: string;
  readonly resume: string;
  readonly withdraw: string;
  readonly again: string;
  readonly otherTab: string;
  readonly progress: string;
  readonly round: string;
  readonly privacyTitle: string;
  readonly spent: string;
  readonly spentOf: string;
  readonly roundCost: string;
  readonly rounds: string;
  readonly roundsOf: string;
  readonly sentTitle: string;
  readonly sentNothing: string;
  readonly sentTotal: string;
  readonly sentRound: string;
  readonly sentAt: string;
  readonly sentBytes: string;
  readonly sentCost: string;
  readonly sentFate: string;
  readonly save: string;
  readonly noData: string;
  readonly failed: string;
  readonly declined: string;
  readonly revoked: string;
  readonly finished: string;
  readonly used: string;
  readonly policies: Readonly<Record<PrivacyPolicy, string>>;
  readonly states: Readonly<Record<SessionState, string>>;
  readonly reasons: Readonly<Partial<Record<StatusReason, string>>>;
  readonly outcomes: Readonly<Record<'accepted' | 'rejected' | 'discarded' | 'sent', string>>;
}

/** Replacements of single texts. */
export type TrainerStringsChanges = {
  readonly [Name in keyof TrainerStrings]?: TrainerStrings[Name] extends string ? string : Partial<TrainerStrings[Name]>;
};

const ENGLISH: TrainerStrings = {
  title: 'Learn together',
  invitation: 'This page trains a shared model in your browser. Your data stay on this device; how the model changed is sent.',
  takePart: 'Take part',
  starting: 'Getting ready',
  askTitle: 'Before your first round',
  agree: 'Agree and take part',
  decline: 'Not now',
  version: 'Version {version}',
  pause: 'Pause',
  resume: 'Go on',
  withdraw: 'Withdraw consent',
  again: 'Start again',
  otherTab: 'Another tab takes part. This one takes over when it closes.',
  progress: 'Training, step {step} of {steps}',
  round: 'Round {round}',
  privacyTitle: 'Privacy',
  spent: 'Spent so far: ε {spent}',
  spentOf: 'Spent so far: ε {spent} of {budget}',
  roundCost: 'A round alone: ε {cost}',
  rounds: 'Rounds taken part in: {rounds}',
  roundsOf: 'Rounds taken part in: {rounds} of {most}',
  sentTitle: 'What left this device',
  sentNothing: 'Nothing yet.',
  sentTotal: 'In total {bytes}; rounds: {rounds}',
  sentRound: 'Round',
  sentAt: 'Time',
  sentBytes: 'Sent',
  sentCost: 'ε so far',
  sentFate: 'Result',
  save: 'Save as JSON',
  noData: 'There are no data to train on yet.',
  failed: 'Something went wrong: {message}',
  declined: 'You did not take part. Nothing of your training was sent.',
  revoked: 'You have withdrawn your consent. This browser takes no further part.',
  finished: 'The task has finished. Thank you.',
  used: 'You have taken part as often as the task allows.',
  policies: {
    distributed: 'Noise and masks hide your change in a sum of many. The server reads only that sum.',
    local: 'Your browser adds noise to its change before anything is sent.',
    central: 'The server reads your change, and adds noise before anybody else sees the model.',
    none: 'The server can read your change. A change can say something about the data behind it.',
  },
  states: {
    idle: 'Getting ready',
    connecting: 'Connecting',
    consent: 'Waits for your consent',
    waiting: 'Waits for the next round',
    unavailable: 'Takes no part for now',
    downloading: 'Fetches the shared model',
    training: 'Trains on your data',
    evaluating: 'Tests the shared model',
    sharing: 'Exchanges keys with the others',
    uploading: 'Sends the change',
    unmasking: 'Opens the sum with the others',
    reported: 'Done; the others are finishing',
    paused: 'Paused',
    reconnecting: 'No connection; tries again',
    closed: 'Ended',
  },
  reasons: {
    hidden: 'Rests while the tab is in the background',
    battery: 'Rests while the battery is low',
    'save-data': 'Rests because your device saves data',
    metered: 'Rests on a mobile network',
  },
  outcomes: { accepted: 'counted', rejected: 'refused', discarded: 'too late', sent: 'not known' },
};

/** The texts of a language, with those that the page replaces. */
export function stringsOf(language: string, changes: TrainerStringsChanges = {}): TrainerStrings {
  const own = language.toLowerCase().startsWith('de') ? GERMAN : ENGLISH;
  const merged = Object.entries(own).map(([name, text]) => {
    const change = changes[name as keyof TrainerStrings];
    return [name, typeof text === 'string' ? (change ?? text) : { ...text, ...(change as object | undefined) }];
  });
  return Object.fromEntries(merged) as TrainerStrings;
}

/** A text with its values. */
export function filled(text: string, values: Readonly<Record<string, string | number>>): string {
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}
