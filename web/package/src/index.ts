/** Fedra in the browser: the exports of the package. */

export { FedraClient } from './client.js';
export type { ConsentForm, ConsentQuestion, ConsentRecord, ConsentTerms } from './consent.js';
export type { FedraErrorCode, PackageCode } from './errors.js';
export { FedraError } from './errors.js';
export type {
  Backend,
  BackendChoice,
  BackendEvent,
  ClientEvent,
  ClientEventOf,
  ClientEventType,
  ClientScores,
  ErrorEvent,
  EvaluationEvent,
  FedraEventMap,
  Headline,
  Loss,
  ModelEvent,
  PauseReason,
  PrivacyEvent,
  PrivacyPolicy,
  ProgressEvent,
  RoundEvent,
  RoundPhase,
  SessionState,
  StatusEvent,
  StatusReason,
  TabEvent,
  TaskEvent,
  TrafficEvent,
  UpdateEvent,
  UpdateFate,
  UpdateFault,
} from './events.js';
export type { ExamplePrivacy, ModelScores, Personalization, PrivacyFloors } from './generated/contract.js';
export type { Kept } from './kept-files.js';
export type { Model } from './model.js';
export type {
  ConnectOptions,
  LoadOptions,
  PersonalizeOptions,
  PredictOptions,
  ReadOptions,
  TrainKeptOptions,
  TrainOptions,
  WaitOptions,
} from './options.js';
export type { PauseOptions } from './pauses.js';
export type { FinishedRound } from './rounds.js';
export type { Sent, SentRound } from './sent.js';
export type { Pin, WasmSource, WasmSources } from './sources.js';
export type { WorkerSource } from './spawn.js';
export type { TabChoice } from './tabs.js';
export type { TokenSource } from './token.js';
export type {
  DataFile,
  Features,
  Labels,
  Layout,
  Place,
  PrivacyOptions,
  ReadData,
  Reading,
  TrainingData,
  TrainingFiles,
  TrainingImages,
} from './validate.js';
