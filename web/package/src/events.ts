/**
 * The events of a client, as they come out of the WebAssembly module and as a
 * page receives them. Types only: this file must produce no code.
 */

/** The device that computes: a GPU through WebGPU, or the CPU. */
export type Backend = 'webgpu' | 'cpu';

/** A page's choice; `auto` begins on the CPU and changes over to WebGPU if it is found faster. */
export type BackendChoice = 'auto' | Backend;

/** The state of the session. */
export type SessionState =
  /** Without data: not connected yet, or observing. */
  | 'idle'
  /** Connected, but takes no part: an `error` event said why. New data or another task may mend it. */
  | 'unavailable'
  | 'connecting'
  /** The task is private, and the person has not agreed yet. */
  | 'consent'
  | 'waiting'
  | 'downloading'
  | 'training'
  /** Exchanging keys and shares with the cohort, before anything masked is sent. */
  | 'sharing'
  | 'uploading'
  /** Helping to remove the masks from the cohort's sum. */
  | 'unmasking'
  | 'reported'
  | 'paused'
  | 'reconnecting'
  | 'closed';

/** The phase of the round at the aggregator. */
export type RoundPhase =
  | 'selecting'
  | 'collecting'
  /** Secure aggregation, in this order: keys, masked updates, the masks' removal from the sum. */
  | 'sharing'
  | 'masking'
  | 'unmasking'
  | 'finalizing'
  /** The operator has paused the task; it goes on later. */
  | 'paused'
  | 'finished';

/**
 * The party that adds the noise. `distributed`: every client a share, and the server
 * sees only sums; `local`: every client all of it; `central`: the server;
 * `none`: no noise.
 */
export type PrivacyPolicy = 'distributed' | 'local' | 'central' | 'none';

/** The session moved to another state. */
export interface StatusEvent {
  readonly type: 'status';
  readonly state: SessionState;
  /** The round this client works for, if it was selected. */
  readonly round?: number;
  /**
   * The reason of `unavailable`, as the code of an `error` event; or of a wait beyond
   * the next round: such a code, or the ending of the last invitations, for which the
   * aggregator leaves the client out for a while (`missed-deadline`, `declined`,
   * `rejected`, `lost`).
   */
  readonly reason?: string;
  /** Milliseconds to the next attempt to connect, or until the client may be invited again. */
  readonly retryInMs?: number;
}

/** The backend was chosen, at the start or after a lost device. */
export interface BackendEvent {
  readonly type: 'backend';
  readonly backend: Backend;
  /** The GPU's name, if the browser tells it. */
  readonly adapter?: string;
  /** The reason of the choice, for people. */
  readonly reason: string;
  readonly cpuSamplesPerSecond?: number;
  readonly webgpuSamplesPerSecond?: number;
  /** Relative distance of a WebGPU gradient from the CPU's. */
  readonly gradientError?: number;
}

/** The task and its model. Comes once after check-in. */
export interface TaskEvent {
  readonly type: 'task';
  readonly id: string;
  readonly title: string;
  readonly parameters: number;
  /** Shape of one example. */
  readonly input: readonly number[];
  readonly outputs: number;
  readonly loss: string;
}

/** The round at the aggregator moved on. */
export interface RoundEvent {
  readonly type: 'round';
  readonly round: number;
  /** Counts the attempts at this round; an abandoned one is tried again. */
  readonly attempt: number;
  readonly phase: RoundPhase;
  /** Clients invited to this round. */
  readonly cohort: number;
  /** Clients of the cohort that have reported. */
  readonly reported: number;
  /** Clients of the cohort that have left. */
  readonly left: number;
  /** Reports at which the round closes. */
  readonly reportGoal: number;
  readonly clientsConnected: number;
  /** Milliseconds to the reporting deadline. */
  readonly deadlineMs?: number;
  /** Absent where the task goes on for ever. */
  readonly roundsTotal?: number;
}

/** A new global model, or a new evaluation of one. */
export interface ModelEvent {
  readonly type: 'model';
  readonly round: number;
  readonly sha256: string;
  readonly bytes: number;
  /** Share of right answers, 0 to 1, on the aggregator's held-out examples. */
  readonly accuracy?: number;
  readonly loss?: number;
  /** The round whose model `accuracy` and `loss` belong to. */
  readonly evaluatedRound?: number;
}

/** Local training went on. At most a few a second. */
export interface ProgressEvent {
  readonly type: 'progress';
  readonly round: number;
  /** The epoch it is in, from 1. */
  readonly epoch: number;
  readonly epochs: number;
  /** Steps taken, of all epochs together. */
  readonly step: number;
  readonly steps: number;
  /** Mean loss of the last batch. */
  readonly loss: number;
  /** Examples a second since this round's training began. */
  readonly samplesPerSecond: number;
}

/** The aggregator's answer to this client's update. */
export interface UpdateEvent {
  readonly type: 'update';
  readonly round: number;
  readonly outcome: 'accepted' | 'rejected' | 'discarded';
  readonly fault?: string;
  readonly message?: string;
}

/**
 * The task's terms and what they have cost so far. Comes at check-in, and
 * again when it changes. Every epsilon is for one person's whole part in the
 * task, at `delta`.
 */
export interface PrivacyEvent {
  readonly type: 'privacy';
  readonly policy: PrivacyPolicy;
  /** True if the server sees sums only. */
  readonly secureAggregation: boolean;
  /** Noise in the sum, as a multiple of what one client can change in it. */
  readonly noiseMultiplier: number | null;
  /** Longest change of the model that is sent, in the L2 norm. */
  readonly clippingNorm: number | null;
  /** Fewest clients that a sum may have; a round with fewer is thrown away. */
  readonly minimumSurvivors: number | null;
  /** Clients of a round that may work together with the server. */
  readonly colluders: number | null;
  /** The probability that the promise leaves out, 0 to 1. */
  readonly delta: number | null;
  /** The largest cost to any person: the task ends before it is exceeded. */
  readonly budgetEpsilon: number | null;
  /** The cost of one round taken alone. */
  readonly roundEpsilon: number | null;
  /** The cost of this browser's rounds together. */
  readonly spentEpsilon: number;
  /** The same after one more round, which is less than the sum of both; null if there will be none. */
  readonly nextEpsilon: number | null;
  /** Rounds that this browser took part in. */
  readonly participations: number;
  readonly maxParticipations: number | null;
  /** The task's ledger: the cost to the subject that took part most. */
  readonly taskSpentEpsilon: number | null;
  /**
   * The cost to single examples since the module was started, if they are protected
   * too: another promise, not about the person. A reload forgets it.
   */
  readonly examplePrivacy: { readonly epsilon: number; readonly delta: number } | null;
}

/** Bytes since the client started. At most a few a second. */
export interface TrafficEvent {
  readonly type: 'traffic';
  readonly bytesUp: number;
  readonly bytesDown: number;
}

/** Something went wrong. After a fatal error the client is closed. */
export interface ErrorEvent {
  readonly type: 'error';
  /**
   * For programs. About the connection: `no-server`, `refused-unknown-task`,
   * `refused-overloaded`, `refused-unsupported-version`, `refused-unsupported-client`
   * (this version does not know a layer or an algorithm of the task), `refused-shutting-down`,
   * `refused-timeout` (an upload was too slow, or the connection silent),
   * `refused-replaced` (another tab of this browser takes part in this private
   * task), `refused-unauthorized` (fatal once no fresh token helps), `token-failed`
   * (the page's token function failed), `blocked-by-policy` (the page's
   * Content-Security-Policy does not allow the aggregator).
   *
   * About the task: `unsupported-task` (this version does not know its model, its
   * algorithm or a message of the aggregator; fatal).
   *
   * About taking part, none of them fatal: `bad-dataset` (the data do not fit the task),
   * `training-diverged`, `training-failed`, `out-of-range` (an update was too large to
   * be added up), `model-unavailable`, `task-finished` (the task had its last round).
   * After these the state is `unavailable` where trying again cannot mend it.
   *
   * About this browser: `no-webgpu`, `device-lost`, `wasm-load-failed`,
   * `worker-failed` (fatal unless the worker was started again).
   *
   * About privacy: `privacy-refused` (the task is below a floor), `privacy-declined`
   * (the person did not agree), `consent-failed` (the question could not be asked),
   * `privacy-exhausted` (this browser has used up its part), `privacy-failed` (an
   * update could not be protected, so it was not sent), `participation-not-kept` (the
   * round could not be counted), `secure-aggregation-failed` (it left a round). More
   * may come.
   */
  readonly code: string;
  /** For people. */
  readonly message: string;
  readonly fatal: boolean;
}

/** Every event a client can report. */
export type ClientEvent =
  | StatusEvent
  | BackendEvent
  | TaskEvent
  | RoundEvent
  | ModelEvent
  | ProgressEvent
  | UpdateEvent
  | PrivacyEvent
  | TrafficEvent
  | ErrorEvent;

/** The name of an event. */
export type ClientEventType = ClientEvent['type'];

/** The event with the name `T`. */
export type ClientEventOf<T extends ClientEventType> = Extract<ClientEvent, { readonly type: T }>;

/** The events of listeners: each is the `detail` of a `CustomEvent`. */
export type FedraEventMap = { [T in ClientEventType]: CustomEvent<ClientEventOf<T>> };
