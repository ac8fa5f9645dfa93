/** Fedra in the browser: the exports of the package. */

export { FedraClient } from './client.js';
export type { ConsentForm, ConsentQuestion, ConsentRecord, ConsentTerms } from './consent.js';
export type { FedraErrorCode, PackageCode } from './errors.js';
export { FedraError } from './errors.js';
export type * from './events.js';
export type { ExamplePrivacy, ModelScores, Personalization, PrivacyFloors } from './generated/contract.js';
export type { Kept } from './kept-files.js';
export type { LoadOptions, Model } from './model.js';
export type { ConnectOptions, ReadOptions, TrainKeptOptions, TrainOptions } from './options.js';
export type { PauseOptions } from './pauses.js';
export type { Sent, SentRound } from './sent.js';
export type { WorkerSource } from './spawn.js';
export type { TabChoice } from './tabs.js';
export type { TokenSource } from './token.js';
export type {
  DataFile,
  Features,
  Labels,
  Layout,
  PersonalizeOptions,
  Place,
  PredictOptions,
  PrivacyOptions,
  ReadData,
  Reading,
  TrainingData,
  TrainingFiles,
  TrainingImages,
} from './validate.js';
