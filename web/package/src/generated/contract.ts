// Generated from the Rust sources by edge-client/tests/contract; not to be edited.

/** The client does something else now. */
export interface StatusEvent {
  readonly type: 'status';
  /** Activity of the client. */
  readonly state: SessionState;
  /** The round it does it for. */
  readonly round?: number;
  /**
   * Reason why it is unavailable, or why it waits longer than for the next
   * round.
   */
  readonly reason?: StatusReason;
  /** Time until the next attempt to connect, or until it may be invited again, ms. */
  readonly retryInMs?: number;
}

/** The device that training runs on was chosen. */
export interface BackendEvent {
  readonly type: 'backend';
  /** The device. */
  readonly backend: Backend;
  /** Name that the graphics adapter gives itself. */
  readonly adapter?: string;
  /** Reason, as text for a person. */
  readonly reason: string;
  /** Measured speed of the CPU, examples a second. */
  readonly cpuSamplesPerSecond?: number;
  /** Measured speed of WebGPU, examples a second. */
  readonly webgpuSamplesPerSecond?: number;
  /** Relative difference of the gradients that the two computed. */
  readonly gradientError?: number;
}

/** The client takes part in this task. */
export interface TaskEvent {
  readonly type: 'task';
  /** The task's id. */
  readonly id: string;
  /** Its name for people. */
  readonly title: string;
  /** Parameters of its model. */
  readonly parameters: number;
  /** Shape of one example. */
  readonly input: readonly number[];
  /** Outputs of the model. */
  readonly outputs: number;
  /** Loss that training minimises. */
  readonly loss: Loss;
  /** The metric of its models that is shown first. */
  readonly headline: Headline;
}

/** Protection of the task's participants, and its cost so far. */
export interface PrivacyEvent extends PrivacyTerms {
  readonly type: 'privacy';
}

/** Progress of the round. */
export interface RoundEvent extends RoundProgress {
  readonly type: 'round';
}

/** There is a new global model, or a new evaluation of one. */
export interface ModelEvent {
  readonly type: 'model';
  /** Completed rounds behind the model. */
  readonly round: number;
  /** Its name. */
  readonly sha256: string;
  /** Size of its file. */
  readonly bytes: number;
  /** Share of right answers, 0 to 1, on the server's held-out examples. */
  readonly accuracy?: number;
  /** Mean loss on these examples. */
  readonly loss?: number;
  /** Share whose class is among the five most likely ones, 0 to 1. */
  readonly top5Accuracy?: number;
  /** Mean over the classes of their F1 scores, 0 to 1. */
  readonly macroF1?: number;
  /** Area under the receiver operating characteristic, 0 to 1. */
  readonly auc?: number;
  /** `exp` of the mean loss of a position. */
  readonly perplexity?: number;
  /** Mean loss of a position in bits. */
  readonly bitsPerToken?: number;
  /** Mean absolute error. */
  readonly mae?: number;
  /** Root of the mean squared error. */
  readonly rmse?: number;
  /** Coefficient of determination, at most 1. */
  readonly r2?: number;
  /** The round of the model that the metrics belong to. */
  readonly evaluatedRound?: number;
  /** The newest scores on examples that the clients hold out. */
  readonly byClients?: ClientScores;
}

/** Local training goes on. Comes a few times a second at most, and after the last step. */
export interface ProgressEvent {
  readonly type: 'progress';
  /** The round. */
  readonly round: number;
  /** Epoch, from 1. */
  readonly epoch: number;
  /** Epochs in all. */
  readonly epochs: number;
  /** Steps taken, of all epochs together. */
  readonly step: number;
  /** Steps in all. */
  readonly steps: number;
  /** Mean loss over the last batch. */
  readonly loss: number;
  /** Examples a second since the round's training began. */
  readonly samplesPerSecond: number;
}

/** The client has evaluated the newest model on the examples that it holds out. */
export interface EvaluationEvent {
  readonly type: 'evaluation';
  /** The round. */
  readonly round: number;
  /** Examples that it holds out. */
  readonly examples: number;
  /** Mean loss on them. */
  readonly loss: number;
  /** Share of right answers, 0 to 1; absent for a regression. */
  readonly accuracy?: number;
}

/** Fate of this client's update. */
export interface UpdateEvent {
  readonly type: 'update';
  /** The round. */
  readonly round: number;
  /** Accepted, rejected or discarded. */
  readonly outcome: UpdateFate;
  /** Reason why it was not accepted. */
  readonly fault?: UpdateFault;
  /** The server's words, for people. */
  readonly message?: string;
}

/**
 * Bytes so far, socket and model downloads together. Comes a few times a second at
 * most.
 */
export interface TrafficEvent {
  readonly type: 'traffic';
  /** To the server. */
  readonly bytesUp: number;
  /** Bytes from the server. */
  readonly bytesDown: number;
}

/** Something went wrong, or is worth knowing. After a fatal one the client is closed. */
export interface ErrorEvent {
  readonly type: 'error';
  /** Stable name, for programs. */
  readonly code: EventCode;
  /** Description of what happened and what to do, for people. */
  readonly message: string;
  /** True if the client has given up. */
  readonly fatal: boolean;
}

/** Something that happened, in the form that JavaScript gets. */
export type ClientEvent =
  | StatusEvent
  | BackendEvent
  | TaskEvent
  | PrivacyEvent
  | RoundEvent
  | ModelEvent
  | ProgressEvent
  | EvaluationEvent
  | UpdateEvent
  | TrafficEvent
  | ErrorEvent;

/**
 * Scores of a model on examples that the clients hold out, as means over the clients of a
 * round.
 */
export interface ClientScores {
  /** The round of evaluation. */
  readonly round: number;
  /** Mean loss. */
  readonly loss: number;
  /** Share of right answers, 0 to 1; absent for a regression. */
  readonly accuracy?: number;
}

/** Activity of a client. */
export type SessionState =
  /** Has no data: it is not connected yet, or observes. */
  | 'idle'
  /** Opens the connection. */
  | 'connecting'
  /** Takes no part before the person agrees to the task's privacy terms. */
  | 'consent'
  /** Is connected and not in a round. */
  | 'waiting'
  /** Is connected and takes no part, because of a failure that time does not mend. */
  | 'unavailable'
  /** Fetches the global model. */
  | 'downloading'
  /** Trains. */
  | 'training'
  /** Evaluates the newest model on the examples that it holds out. */
  | 'evaluating'
  /** Exchanges keys and shares with the cohort. */
  | 'sharing'
  /** Sends its update. */
  | 'uploading'
  /** Helps to take the masks off the cohort's sum. */
  | 'unmasking'
  /** Its update was accepted; the round goes on. */
  | 'reported'
  /** Takes no part at its owner's wish. */
  | 'paused'
  /** Lost the connection and will try again. */
  | 'reconnecting'
  /** Is done. */
  | 'closed';

/** The fate of an update. */
export type UpdateFate =
  /** Counted. */
  | 'accepted'
  /** Not valid. */
  | 'rejected'
  /** Too late. */
  | 'discarded';

/** Progress of the round, as the server sees it. */
export interface RoundProgress {
  /** The round. */
  readonly round: number;
  /** Its attempt, from 0: an abandoned one is tried again. */
  readonly attempt: number;
  /** Its phase. */
  readonly phase: RoundPhase;
  /** Clients in it. */
  readonly cohort: number;
  /** Updates accepted. */
  readonly reported: number;
  /** Clients that left it. */
  readonly left: number;
  /** Updates at which it closes. */
  readonly reportGoal: number;
  /** Clients connected to the task. */
  readonly clientsConnected: number;
  /** Time until the deadline, ms. */
  readonly deadlineMs?: number;
  /** Rounds that the task will have; absent where it has no last one. */
  readonly roundsTotal?: number;
}

/**
 * Result of a personalisation: both models on examples that neither was trained on here.
 *
 * The global model may have been trained on them where the task holds nothing out.
 */
export interface Personalization {
  /** Examples that the personal model was trained on. */
  readonly examples: number;
  /** Examples that both are scored on. */
  readonly heldOut: number;
  /** Scores of the newest global model. */
  readonly global: ModelScores;
  /** Scores of the personal model. */
  readonly personal: ModelScores;
}

/** Scores of a model on examples of this device. */
export interface ModelScores {
  /** Mean loss. */
  readonly loss: number;
  /** Share of right answers, 0 to 1; absent for a regression. */
  readonly accuracy?: number;
}

/**
 * A task's terms and what they have cost so far, in the form that JavaScript
 * gets. Every epsilon is for one subject's whole part in the task, at `delta`.
 */
export interface PrivacyTerms {
  /** Party that adds the noise. */
  readonly policy: PrivacyPolicy;
  /** True if the server sees sums only. */
  readonly secureAggregation: boolean;
  /** Standard deviation of the noise in a sum, over the clipping norm. */
  readonly noiseMultiplier: number | null;
  /** L2 norm to which updates are clipped, of the newest round known here. */
  readonly clippingNorm: number | null;
  /** Fewest clients that a sum may have; a round with fewer is thrown away. */
  readonly minimumSurvivors: number | null;
  /** Clients of a round that may work together with the server. */
  readonly colluders: number | null;
  /** The probability that is left out of the promise, 0 to 1. */
  readonly delta: number | null;
  /** The task's budget: it ends before it costs a subject more. */
  readonly budgetEpsilon: number | null;
  /** Cost of one round, taken alone. */
  readonly roundEpsilon: number | null;
  /** Cost of this subject's rounds so far, together. */
  readonly spentEpsilon: number;
  /** The same after one more; absent if there will be no more. */
  readonly nextEpsilon: number | null;
  /** Rounds that this subject took part in. */
  readonly participations: number;
  /** Rounds that it may take part in. */
  readonly maxParticipations: number | null;
  /** The task's ledger: the cost for the subject that took part most. */
  readonly taskSpentEpsilon: number | null;
  /** Terms for single examples in addition. */
  readonly examplePrivacy: ExampleTerms | null;
}

/** A promise about each example of a client's data, not about its owner. */
export interface ExampleTerms {
  /** Its epsilon since the client was started. */
  readonly epsilon: number;
  /** At this delta. */
  readonly delta: number;
}

/** Party that adds the noise, by name. */
export type PrivacyPolicy =
  /** Every client a share, under secure aggregation. */
  | 'distributed'
  /** Every client all of it. */
  | 'local'
  /** The server, which sees each update. */
  | 'central'
  /** No party. */
  | 'none';

/** Permission for a client to take part in a private task without asking. */
export type Consent =
  /** Yes, if the task is not below the floors. */
  | 'granted'
  /** No: it waits until the person agrees. */
  | 'ask';

/** First argument of the module's client. */
export interface ModuleOptions {
  /** The aggregator's socket. */
  readonly url: string;
  /** The task's id. */
  readonly task: string;
  /** The device to train on. */
  readonly backend: BackendChoice;
  /** Demands of the owner. */
  readonly privacy: ModulePrivacyOptions;
}

/** Demands of the owner, and what the module cannot know of earlier visits. */
export interface ModulePrivacyOptions {
  /** The least that a task must promise. */
  readonly floors?: PrivacyFloors;
  /** Permission to take part in a private task without asking. */
  readonly consent: Consent;
  /** Rounds of the task that the subject has taken part in before. */
  readonly participations?: number;
  /** Stands for the person in the task's ledger: 32 hexadecimal digits. */
  readonly subject: string;
  /** A promise about single examples. */
  readonly examples?: ExamplePrivacy;
}

/**
 * Example-level privacy (DP-SGD), for a site that holds the records of many people: a
 * promise about each single example, not about this client, and beside the task's. The
 * task's server neither sets it nor learns of it. Its cost is `examplePrivacy` of the
 * `privacy` event.
 */
export interface ExamplePrivacy {
  /** Largest L2 norm of one example's gradient; above 0. */
  readonly clippingNorm: number;
  /**
   * Noise on the sum of a step's clipped gradients, in units of `clippingNorm`;
   * above 0.
   */
  readonly noiseMultiplier: number;
  /** The delta at which the cost is told; between 0 and 1. */
  readonly delta: number;
}

/** Device of training, by name. */
export type Backend =
  /** The CPU. */
  | 'cpu'
  /** A GPU through WebGPU. */
  | 'webgpu';

/** Preference of the owner. */
export type BackendChoice =
  /** The faster of those that compute right. */
  | 'auto'
  /** WebGPU if it is there and computes right, however slow. */
  | 'webgpu'
  /** The CPU. */
  | 'cpu';

/** Code of an `error` event of the client. */
export type EventCode =
  /** A failure. */
  | Failure
  /** Something that the owner should know. */
  | Notice;

/** Code of a call that is refused. */
export type CallCode =
  /** A failure of the client, for example the one that ended it. */
  | Failure
  /** A fault of the call. */
  | CallFault;

/**
 * Reason in a `status` event: a failure of the client, or the end of its last
 * invitations, because of which the server leaves it out for a while.
 */
export type StatusReason =
  /** A failure of the client. */
  | Failure
  /** End of its last invitations. */
  | StandbyCause;

/** News in an `error` event that is no failure. */
export type Notice =
  /** The task has had its last round. Its model can still be used. */
  | 'task-finished'
  /** This client has used up its participations. It stays to use the model. */
  | 'privacy-exhausted'
  /** WebGPU was asked for, and is absent or computes wrong. Training runs on the CPU. */
  | 'no-webgpu'
  /** The WebGPU device was lost. Training goes on with the CPU. */
  | 'device-lost'
  /**
   * The difference to the last model cannot be had, or does not give the new one. The
   * client fetches the whole model.
   */
  | 'step-unusable';

/** Reason why a call is refused, where it is no failure of the client. */
export type CallFault =
  /** The data were taken back, or others were given in their place. */
  | 'aborted'
  /** The client is closed. */
  | 'closed'
  /** The options are not valid. */
  | 'invalid-options'
  /** There is no global model yet. */
  | 'no-model'
  /** The file is damaged, or a later version may know what is in it. */
  | 'bad-model'
  /** The examples do not fit the model. */
  | 'bad-features'
  /** There is too little memory for the call. */
  | 'out-of-memory'
  /** The model's outputs could not be computed. */
  | 'prediction-failed'
  /** A measurement could not be made. */
  | 'bench-failed';

/** A kind of failure. */
export type Failure =
  /** The examples do not fit the task. */
  | 'bad-dataset'
  /** Training gave values that are not finite. */
  | 'training-diverged'
  /** A value of the update is beyond the task's range. */
  | 'out-of-range'
  /** Training failed in another way. */
  | 'training-failed'
  /** The model could not be fetched, or what came is not the one that was named. */
  | 'model-unavailable'
  /** The file that was named is not a model of the task. */
  | 'model-unreadable'
  /** The update was rejected, and not because the round was another one. */
  | 'update-rejected'
  /** A participation could not be written down. */
  | 'participation-not-kept'
  /** The system gives no random numbers. */
  | 'no-randomness'
  /** The update could not be protected. */
  | 'privacy-failed'
  /** A step of secure aggregation went wrong. */
  | 'secure-aggregation-failed'
  /** The server is away, is silent, or sends what makes no sense. */
  | 'no-server'
  /** The owner has no token to check in with. */
  | 'token-failed'
  /**
   * The server sends what only a later version knows: a layer, an algorithm, a loss, a
   * mechanism, a message.
   */
  | 'unsupported-task'
  /**
   * The task promises less privacy than the owner asks for, or something else than
   * before.
   */
  | 'privacy-refused'
  /** The server refuses the client. */
  | `refused-${RefusalCode}`;

/** Reason for refusing a session or a message. */
export type RefusalCode =
  /** No protocol version in common. */
  | 'unsupported-version'
  /** Bytes that are not a valid message. */
  | 'malformed-message'
  /** A valid message at the wrong time. */
  | 'unexpected-message'
  /** A message over the size limit. */
  | 'message-too-large'
  /** No task of this name here. */
  | 'unknown-task'
  /** No room; try again later. */
  | 'overloaded'
  /** The client was silent for too long. */
  | 'timeout'
  /** The server is going away. */
  | 'shutting-down'
  /** Another connection of the same subject has taken this one's place. */
  | 'replaced'
  /** Enough clients wait already; come back later. */
  | 'not-selected'
  /** The token is missing or not good for this task, now. */
  | 'unauthorized'
  /** The client does not know a layer, an algorithm or the codec of the task. */
  | 'unsupported-client';

/** End of an invitation that came to nothing. */
export type StandbyCause =
  /** The deadline passed without an answer. */
  | 'missed-deadline'
  /** The client declined. */
  | 'declined'
  /** The server rejected the client's answer. */
  | 'rejected'
  /** The client's connection broke and did not come back in time. */
  | 'lost';

/** Reason for which an update was not counted. */
export type UpdateFault =
  /** The round closed before the update was complete. */
  | 'round-over'
  /** No such round, now or before. */
  | 'unknown-round'
  /** The client was not invited into this round, or has left it. */
  | 'not-in-cohort'
  /** The client has already reported. */
  | 'duplicate'
  /** Not as long as the task's updates are. */
  | 'wrong-length'
  /** A chunk that does not continue where the last one ended. */
  | 'wrong-offset'
  /** The bytes do not match their checksum. */
  | 'checksum-mismatch'
  /** A NaN or an infinity. */
  | 'not-finite'
  /** A value larger than any honest update has. */
  | 'out-of-range'
  /** No examples, or more than the task allows. */
  | 'weight-out-of-range'
  /** More newer models than the assignment allowed for. */
  | 'too-stale'
  /** Keys that no honest client makes. */
  | 'invalid-keys'
  /** Shares that are not the ones that were asked for. */
  | 'invalid-shares'
  /** An answer that the round does not wait for now. */
  | 'wrong-step';

/** Phase of a round. */
export type RoundPhase =
  /** Waiting for enough clients. */
  | 'selecting'
  /** The cohort trains and reports. */
  | 'collecting'
  /** Secure aggregation: the cohort exchanges key shares. */
  | 'sharing'
  /** Secure aggregation: the cohort sends its masked updates. */
  | 'masking'
  /** Secure aggregation: the cohort helps to take the masks off the sum. */
  | 'unmasking'
  /** The new global model is computed and stored. */
  | 'finalizing'
  /** The task has had its last round. */
  | 'finished'
  /** The operator has paused the task: no round begins. */
  | 'paused';

/** Kind of an objective, as a mean over the batch, and over the positions of a sequence. */
export type Loss =
  /** Softmax, then the negative log-likelihood of the right class. */
  | 'softmax_cross_entropy'
  /** Mean over the outputs of the squared difference. */
  | 'mean_squared_error'
  /** Mean over the outputs of the negative log-likelihood of yes or no, after the sigmoid. */
  | 'binary_cross_entropy'
  /** Mean over the outputs of half the squared difference, or of a line where that is large. */
  | 'huber';

/** Metric that a person is shown first. */
export type Headline =
  /** Share classified right; more is better. */
  | 'accuracy'
  /** Mean loss of a position in bits; less is better. */
  | 'bits_per_token'
  /** Root of the mean squared error; less is better. */
  | 'rmse';

/**
 * The least that a task must promise. A client refuses a task below, or without a
 * policy, for good.
 */
export interface PrivacyFloors {
  /** Least noise in a sum, in units of what one client can change in it; above 0. */
  readonly minNoiseMultiplier?: number;
  /**
   * Fewest clients that a released sum or mean is over, colluders not counted; 1 or
   * more.
   */
  readonly minCohort?: number;
  /**
   * Most rounds that the client takes part in; 1 or more. A task that grants more is not
   * refused: the client stops by itself.
   */
  readonly maxParticipations?: number;
  /** Largest epsilon of the client's own participations in the task together; above 0. */
  readonly maxEpsilon?: number;
  /** Requires that the server sees nothing but sums. */
  readonly requireSecureAggregation?: boolean;
}
