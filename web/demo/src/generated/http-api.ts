// Generated from crates/http-api. FEDRA_BLESS=1 cargo test -p fedra-http-api writes it anew.

/** State of a task: the operator's last word, or `finished`. */
export type TaskState = "running" | "paused" | "stopped" | "finished";

/** Phase of a round. */
export type Phase = "selecting" | "collecting" | "sharing" | "masking" | "unmasking" | "finalizing" | "finished" | "paused";

/** State of a task's health. */
export type HealthState = "ok" | "waiting" | "failing";

/** End of an invitation that came to nothing. */
export type FailureKind = "missed-deadline" | "declined" | "rejected" | "lost";

/** Cause of a decline, or fault of what was rejected. */
export type FailureCause = "not-now" | "bad-dataset" | "training-diverged" | "training-failed" | "out-of-range" | "model-unavailable" | "round-over" | "unknown-round" | "not-in-cohort" | "duplicate" | "too-stale" | "wrong-length" | "wrong-offset" | "checksum-mismatch" | "not-finite" | "weight-out-of-range" | "invalid-keys" | "invalid-shares" | "wrong-step";

/** Invitations that came to nothing in one way. */
export type Failure = {
  /** Kind of the failure. */
  kind: FailureKind;
  /** Cause of a decline or fault of a rejection, if known. */
  cause: FailureCause | null;
  /** Number of invitations. */
  count: number;
  /** The same as a phrase, without a capital and a full stop. */
  text: string;
};

/** Health of a task: its state and, if it makes no rounds, the reason. */
export type Health = {
  /** The state. */
  state: HealthState;
  /** One sentence, without a capital and a full stop. */
  reason: string | null;
  /** Start of the state, RFC 3339. */
  since: string;
  /** Attempts in a row that came to nothing, while the task is failing. */
  attempts: number;
  /** Invitations that came to nothing since the server started, the most frequent first. */
  failures: Array<Failure>;
};

/** Numbers of clients of the round under way. */
export type Cohort = {
  /** Invited clients. */
  invited: number;
  /** Invited clients that have reported. */
  reported: number;
  /** Invited clients that left, declined or were refused. */
  left: number;
  /** Reports that close the round. */
  report_goal: number;
};

/** Frozen part of the models of a task. */
export type FrozenPart = {
  /** SHA-256 of the file, in hexadecimal digits. */
  sha256: string;
  /** Address of the file, relative to the document's own. */
  url: string;
  /** Size of the file. */
  bytes: number;
  /** Number of parameters of the frozen layers. */
  parameters: number;
};

/** Newest model of a task. */
export type Model = {
  /** SHA-256 of the file, in hexadecimal digits. */
  sha256: string;
  /** Address of the file, relative to the document's own. */
  url: string;
  /** Size of the file. */
  bytes: number;
  /** Number of its parameters that are trained, which are those in the file. */
  parameters: number;
  /** Round that made it; 0 is the initial model. */
  round: number;
  /** File of its frozen layers, the same in each round; null if no layer is frozen. */
  frozen: FrozenPart | null;
  /** Shape of one example: features, channels with height and width, or positions. */
  input: Array<number>;
  /** Number of tokens; null of a model that takes no token ids. */
  vocabulary: number | null;
  /** Shape of the outputs for one example: classes or values, of a sequence at each of its positions. */
  output: Array<number>;
  /** Loss that training minimises, by its name in a config. */
  loss: string;
};

/** Metric of a task that is shown first, by its name in [`Metrics`]. */
export type Headline = "accuracy" | "bits_per_token" | "rmse";

/** Metrics of a model on held-out examples. One that the task does not have, or that the examples do not determine, is left out. */
export type Metrics = {
  /** Share that is classified right, 0 to 1; null for regression, and until the model is evaluated. */
  accuracy: number | null;
  /** Mean loss; null until the model is evaluated. */
  loss: number | null;
  /** Share whose class is among the five most likely ones, 0 to 1; with more than 10 classes. */
  top_5_accuracy?: number;
  /** Mean over the classes of their F1 scores, 0 to 1. A class that is never right counts 0; one that neither occurs nor is predicted does not count. */
  macro_f1?: number;
  /** Area under the receiver operating characteristic, 0 to 1; with two classes. */
  auc?: number;
  /** `exp` of the mean loss of a position. */
  perplexity?: number;
  /** Mean loss of a position in bits. */
  bits_per_token?: number;
  /** Mean absolute error of a regression. */
  mae?: number;
  /** Root of the mean squared error of a regression. */
  rmse?: number;
  /** Coefficient of determination of a regression, at most 1; left out if the targets do not vary. */
  r2?: number;
};

/** Quality of a model on the server's held-out examples. */
export type Quality = {
  /** Round of the model. */
  round: number;
  /** Share that is classified right, 0 to 1; null for regression, and until the model is evaluated. */
  accuracy: number | null;
  /** Mean loss; null until the model is evaluated. */
  loss: number | null;
  /** Share whose class is among the five most likely ones, 0 to 1; with more than 10 classes. */
  top_5_accuracy?: number;
  /** Mean over the classes of their F1 scores, 0 to 1. A class that is never right counts 0; one that neither occurs nor is predicted does not count. */
  macro_f1?: number;
  /** Area under the receiver operating characteristic, 0 to 1; with two classes. */
  auc?: number;
  /** `exp` of the mean loss of a position. */
  perplexity?: number;
  /** Mean loss of a position in bits. */
  bits_per_token?: number;
  /** Mean absolute error of a regression. */
  mae?: number;
  /** Root of the mean squared error of a regression. */
  rmse?: number;
  /** Coefficient of determination of a regression, at most 1; left out if the targets do not vary. */
  r2?: number;
};

/** Metrics of one class. */
export type ClassMetrics = {
  /** Held-out examples of the class. */
  examples: number;
  /** Share of them that is classified right, 0 to 1; null without examples. */
  recall: number | null;
  /** Share of what is taken for the class that is of it, 0 to 1; null if nothing is. */
  precision: number | null;
};

/** Classes of the newest evaluated model, of classifiers with up to 100 classes. */
export type Classes = {
  /** Metrics of each class, by its number. */
  metrics: Array<ClassMetrics>;
  /** Examples by class and, within it, by predicted class. */
  confusion: Array<Array<number>>;
};

/** Source of the noise. */
export type Policy = "distributed" | "local" | "central";

/** Privacy policy of a task, and what has been spent of its budget. */
export type Privacy = {
  /** Source of the noise. */
  policy: Policy;
  /** Budget of one subject. */
  epsilon: number;
  /** Probability with which epsilon may be passed. */
  delta: number;
  /** Epsilon of the subject that has spent most. */
  spent_epsilon: number;
  /** Epsilon of one participation alone. */
  round_epsilon: number;
  /** Standard deviation of the noise in the sum, in clipping norms. */
  noise_multiplier: number;
  /** Clipping norm of the next round. */
  clipping_norm: number;
  /** Share of updates that the clipping norm is to leave whole, if it follows them. */
  target_quantile: number | null;
  /** Fewest updates in a sum. */
  minimum_survivors: number;
  /** Clients among them that are assumed to help the server. */
  colluders: number;
  /** Most participations of a subject. */
  max_participations: number;
  /** True if each subject's participations are counted, false if rounds are. */
  counts_subjects: boolean;
  /** Entries of the ledger. */
  debits: number;
  /** Subjects in them. */
  subjects: number;
};

/** Completed round. */
export type Round = {
  /** Its number, from 1. */
  round: number;
  /** Of a round of evaluation: metrics on examples that the clients held out, of the model of the round before, which is this round's too. Null of a round of training. */
  by_clients: Metrics | null;
  /** Accepted updates. */
  reports: number;
  /** Time from the invitation to the last update. */
  seconds: number;
  /** Bytes from clients since the round before. */
  bytes_up: number;
  /** Bytes to clients since the round before. */
  bytes_down: number;
  /** True if the task's gate has refused its model: it was rolled back. */
  refused: boolean;
  /** Share that is classified right, 0 to 1; null for regression, and until the model is evaluated. */
  accuracy: number | null;
  /** Mean loss; null until the model is evaluated. */
  loss: number | null;
  /** Share whose class is among the five most likely ones, 0 to 1; with more than 10 classes. */
  top_5_accuracy?: number;
  /** Mean over the classes of their F1 scores, 0 to 1. A class that is never right counts 0; one that neither occurs nor is predicted does not count. */
  macro_f1?: number;
  /** Area under the receiver operating characteristic, 0 to 1; with two classes. */
  auc?: number;
  /** `exp` of the mean loss of a position. */
  perplexity?: number;
  /** Mean loss of a position in bits. */
  bits_per_token?: number;
  /** Mean absolute error of a regression. */
  mae?: number;
  /** Root of the mean squared error of a regression. */
  rmse?: number;
  /** Coefficient of determination of a regression, at most 1; left out if the targets do not vary. */
  r2?: number;
};

/** Refusal of a model by its task's gate. */
export type GateRefusal = {
  /** Round of the model. */
  round: number;
  /** Its held-out loss; null if it is not finite, or the model could not be evaluated. */
  loss: number | null;
  /** Largest loss that would have passed; null if any finite one would have. */
  limit: number | null;
  /** Roll-backs in a row, with this one. */
  in_a_row: number;
  /** Round whose model took its place. */
  to: number;
};

/** Gate of a task: the rule by which a model is refused for its held-out loss. */
export type Gate = {
  /** True if it goes by the clients' evaluation, false if by the server's. */
  by_clients: boolean;
  /** Share by which a loss may be above that of the last kept model. */
  loss_increase: number;
  /** Largest loss in any case, if there is one. */
  loss_limit: number | null;
  /** Roll-backs in a row after which the task is paused. */
  rollbacks: number;
  /** The last refusal of the rounds that are remembered; null if there was none. */
  last: GateRefusal | null;
};

/** Task in short, without its rounds. */
export type TaskSummary = {
  /** Name of the task. */
  id: string;
  /** Title for a person. */
  title: string;
  /** The operator's last word, or `finished`. */
  state: TaskState;
  /** Health of the task. */
  health: Health;
  /** Completed rounds. */
  round: number;
  /** Rounds that the task has, if limited. */
  rounds_total: number | null;
  /** The round under way. */
  round_under_way: number;
  /** Its attempt, from 0. */
  attempt: number;
  /** Its phase. */
  phase: Phase;
  /** Its clients. */
  cohort: Cohort;
  /** Time until the phase ends at the latest, if it has a deadline. */
  seconds_left: number | null;
  /** Clients that are connected. */
  clients_connected: number;
  /** The newest model. */
  model: Model;
  /** Description of the task's data, in the form of `[task.data]`; null if clients give arrays that fit the model. */
  data: Record<string, unknown> | null;
  /** True if the server evaluates the models on held-out examples of its own. */
  evaluated: boolean;
  /** The metric that is shown first. */
  headline: Headline;
  /** The newest quality there is, of this model or an earlier one. */
  latest: Quality | null;
  /** The newest quality on examples that the clients held out; null without one. */
  latest_by_clients: Quality | null;
  /** The privacy policy and what it has cost; null without one. */
  privacy: Privacy | null;
  /** The rule by which a model is refused for its held-out loss; null without one. */
  gate: Gate | null;
};

/** Task with its rounds. */
export type Task = {
  /** Classes of the model that `latest` is about; null for models without a matrix, and until the model is evaluated after a start of the server. */
  classes: Classes | null;
  /** The last completed rounds, oldest first. */
  history: Array<Round>;
  /** Name of the task. */
  id: string;
  /** Title for a person. */
  title: string;
  /** The operator's last word, or `finished`. */
  state: TaskState;
  /** Health of the task. */
  health: Health;
  /** Completed rounds. */
  round: number;
  /** Rounds that the task has, if limited. */
  rounds_total: number | null;
  /** The round under way. */
  round_under_way: number;
  /** Its attempt, from 0. */
  attempt: number;
  /** Its phase. */
  phase: Phase;
  /** Its clients. */
  cohort: Cohort;
  /** Time until the phase ends at the latest, if it has a deadline. */
  seconds_left: number | null;
  /** Clients that are connected. */
  clients_connected: number;
  /** The newest model. */
  model: Model;
  /** Description of the task's data, in the form of `[task.data]`; null if clients give arrays that fit the model. */
  data: Record<string, unknown> | null;
  /** True if the server evaluates the models on held-out examples of its own. */
  evaluated: boolean;
  /** The metric that is shown first. */
  headline: Headline;
  /** The newest quality there is, of this model or an earlier one. */
  latest: Quality | null;
  /** The newest quality on examples that the clients held out; null without one. */
  latest_by_clients: Quality | null;
  /** The privacy policy and what it has cost; null without one. */
  privacy: Privacy | null;
  /** The rule by which a model is refused for its held-out loss; null without one. */
  gate: Gate | null;
};

/** Action of an operator. */
export type OperatorAction = "create" | "pause" | "resume" | "stop" | "roll-back";

/** Decision of an operator about a task, or a pause by its gate. */
export type Decision = {
  /** Time, seconds since 1970. */
  unix_seconds: number;
  /** The action. */
  action: OperatorAction;
  /** Of a roll-back: the earlier round. */
  to?: number;
  /** Of a roll-back: the new round. */
  round?: number;
  /** Of a pause by the task's gate: the last of the rounds in a row that it refused. */
  refused?: number;
};

/** Completed round, with what only operators see. */
export type OperatedRound = {
  /** Attempt that completed it, from 0. */
  attempt: number;
  /** Clients that were invited. */
  cohort: number;
  /** Weight of the reports. */
  weight: number;
  /** Earlier round whose model it has, if an operator or the task's gate went back to it. */
  restored?: number;
  /** Its number, from 1. */
  round: number;
  /** Of a round of evaluation: metrics on examples that the clients held out, of the model of the round before, which is this round's too. Null of a round of training. */
  by_clients: Metrics | null;
  /** Accepted updates. */
  reports: number;
  /** Time from the invitation to the last update. */
  seconds: number;
  /** Bytes from clients since the round before. */
  bytes_up: number;
  /** Bytes to clients since the round before. */
  bytes_down: number;
  /** True if the task's gate has refused its model: it was rolled back. */
  refused: boolean;
  /** Share that is classified right, 0 to 1; null for regression, and until the model is evaluated. */
  accuracy: number | null;
  /** Mean loss; null until the model is evaluated. */
  loss: number | null;
  /** Share whose class is among the five most likely ones, 0 to 1; with more than 10 classes. */
  top_5_accuracy?: number;
  /** Mean over the classes of their F1 scores, 0 to 1. A class that is never right counts 0; one that neither occurs nor is predicted does not count. */
  macro_f1?: number;
  /** Area under the receiver operating characteristic, 0 to 1; with two classes. */
  auc?: number;
  /** `exp` of the mean loss of a position. */
  perplexity?: number;
  /** Mean loss of a position in bits. */
  bits_per_token?: number;
  /** Mean absolute error of a regression. */
  mae?: number;
  /** Root of the mean squared error of a regression. */
  rmse?: number;
  /** Coefficient of determination of a regression, at most 1; left out if the targets do not vary. */
  r2?: number;
};

/** Task in short, with what only operators see. */
export type OperatedSummary = {
  /** Check-ins turned away since the start, because connections of their subject replace each other too often. */
  contested: number;
  /** Weight of the reports of the round under way. */
  weight: number;
  /** Name of the task. */
  id: string;
  /** Title for a person. */
  title: string;
  /** The operator's last word, or `finished`. */
  state: TaskState;
  /** Health of the task. */
  health: Health;
  /** Completed rounds. */
  round: number;
  /** Rounds that the task has, if limited. */
  rounds_total: number | null;
  /** The round under way. */
  round_under_way: number;
  /** Its attempt, from 0. */
  attempt: number;
  /** Its phase. */
  phase: Phase;
  /** Its clients. */
  cohort: Cohort;
  /** Time until the phase ends at the latest, if it has a deadline. */
  seconds_left: number | null;
  /** Clients that are connected. */
  clients_connected: number;
  /** The newest model. */
  model: Model;
  /** Description of the task's data, in the form of `[task.data]`; null if clients give arrays that fit the model. */
  data: Record<string, unknown> | null;
  /** True if the server evaluates the models on held-out examples of its own. */
  evaluated: boolean;
  /** The metric that is shown first. */
  headline: Headline;
  /** The newest quality there is, of this model or an earlier one. */
  latest: Quality | null;
  /** The newest quality on examples that the clients held out; null without one. */
  latest_by_clients: Quality | null;
  /** The privacy policy and what it has cost; null without one. */
  privacy: Privacy | null;
  /** The rule by which a model is refused for its held-out loss; null without one. */
  gate: Gate | null;
};

/** Task with its rounds, with what only operators see. */
export type OperatedTask = {
  /** Classes of the model that `latest` is about; null for models without a matrix, and until the model is evaluated after a start of the server. */
  classes: Classes | null;
  /** The last completed rounds, oldest first. */
  history: Array<OperatedRound>;
  /** Rounds whose model is kept, oldest first. */
  checkpoints: Array<number>;
  /** Decisions of operators, and pauses by the gate, oldest first. */
  decisions: Array<Decision>;
  /** Config of the task in a few lines, for a person. */
  config: string;
  /** Check-ins turned away since the start, because connections of their subject replace each other too often. */
  contested: number;
  /** Weight of the reports of the round under way. */
  weight: number;
  /** Name of the task. */
  id: string;
  /** Title for a person. */
  title: string;
  /** The operator's last word, or `finished`. */
  state: TaskState;
  /** Health of the task. */
  health: Health;
  /** Completed rounds. */
  round: number;
  /** Rounds that the task has, if limited. */
  rounds_total: number | null;
  /** The round under way. */
  round_under_way: number;
  /** Its attempt, from 0. */
  attempt: number;
  /** Its phase. */
  phase: Phase;
  /** Its clients. */
  cohort: Cohort;
  /** Time until the phase ends at the latest, if it has a deadline. */
  seconds_left: number | null;
  /** Clients that are connected. */
  clients_connected: number;
  /** The newest model. */
  model: Model;
  /** Description of the task's data, in the form of `[task.data]`; null if clients give arrays that fit the model. */
  data: Record<string, unknown> | null;
  /** True if the server evaluates the models on held-out examples of its own. */
  evaluated: boolean;
  /** The metric that is shown first. */
  headline: Headline;
  /** The newest quality there is, of this model or an earlier one. */
  latest: Quality | null;
  /** The newest quality on examples that the clients held out; null without one. */
  latest_by_clients: Quality | null;
  /** The privacy policy and what it has cost; null without one. */
  privacy: Privacy | null;
  /** The rule by which a model is refused for its held-out loss; null without one. */
  gate: Gate | null;
};

/** Task that could not start. */
export type SetAsideTask = {
  /** Name of the task. */
  id: string;
  /** The problem and its remedy. */
  reason: string;
};

/** Status of the server. */
export type ServerStatus = {
  /** Version of the program. */
  version: string;
  /** True if the server is about to stop. */
  draining: boolean;
  /** Time since the start. */
  uptime_seconds: number;
  /** Resident memory; null where the system does not tell. */
  memory_bytes: number | null;
  /** Open connections. */
  connections: number;
  /** Clients that are checked in. */
  sessions: number;
  /** Memory of updates that are on their way. */
  upload_bytes_in_flight: number;
  /** Most memory for them. */
  upload_budget_bytes: number;
  /** The tasks that run. */
  tasks: Array<OperatedSummary>;
  /** The tasks that could not start. */
  set_aside: Array<SetAsideTask>;
};

/** Answer to a new task. */
export type Created = {
  /** Name of the task. */
  id: string;
};

/** Answer to a pause, a resumption or a stop. */
export type Operated = {
  /** State of the task from now on. */
  state: TaskState;
};

/** Order to go back to an earlier model. */
export type RollBack = {
  /** Round of the earlier model. */
  round: number;
};

/** Answer to a roll-back. */
export type RolledBack = {
  /** New round, which has the earlier model. */
  round: number;
};

/** Mistake in a task's config. */
export type Mistake = {
  /** Place in the config such as `task[digits].round.deadline`; empty for the whole. */
  path: string;
  /** The mistake and its remedy. */
  problem: string;
};

/** Body of every error, `application/problem+json`. */
export type Problem = {
  /** `about:blank`: the status says what kind of error it is. */
  type: string;
  /** Name of the status. */
  title: string;
  /** Status of the answer. */
  status: number;
  /** One sentence for a person. */
  detail: string;
  /** Mistakes in a task's config, each at its place. */
  mistakes?: Array<Mistake>;
  /** Rounds whose model is kept, if the one that was asked for is not. */
  kept?: Array<number>;
};

/** Answers that a page may read, by name. */
export interface Shapes {
  ClassMetrics: ClassMetrics;
  Classes: Classes;
  Cohort: Cohort;
  Created: Created;
  Decision: Decision;
  Failure: Failure;
  FailureCause: FailureCause;
  FailureKind: FailureKind;
  FrozenPart: FrozenPart;
  Gate: Gate;
  GateRefusal: GateRefusal;
  Headline: Headline;
  Health: Health;
  HealthState: HealthState;
  Metrics: Metrics;
  Mistake: Mistake;
  Model: Model;
  Operated: Operated;
  OperatedRound: OperatedRound;
  OperatedSummary: OperatedSummary;
  OperatedTask: OperatedTask;
  OperatorAction: OperatorAction;
  Phase: Phase;
  Policy: Policy;
  Privacy: Privacy;
  Quality: Quality;
  RolledBack: RolledBack;
  Round: Round;
  ServerStatus: ServerStatus;
  SetAsideTask: SetAsideTask;
  Task: Task;
  TaskState: TaskState;
  TaskSummary: TaskSummary;
}

/** The same for a check at run time: `check` in json.ts says how to read it. */
export const SHAPES = {
  ClassMetrics: { fields: { examples: 'integer', precision: { maybe: 'number' }, recall: { maybe: 'number' } } },
  Classes: { fields: { confusion: { list: { list: 'integer' } }, metrics: { list: 'ClassMetrics' } } },
  Cohort: { fields: { invited: 'integer', left: 'integer', report_goal: 'integer', reported: 'integer' } },
  Created: { fields: { id: 'string' } },
  Decision: { fields: { action: 'OperatorAction', 'refused?': { maybe: 'integer' }, 'round?': { maybe: 'integer' }, 'to?': { maybe: 'integer' }, unix_seconds: 'integer' } },
  Failure: { fields: { cause: { maybe: 'FailureCause' }, count: 'integer', kind: 'FailureKind', text: 'string' } },
  FailureCause: { words: ['not-now', 'bad-dataset', 'training-diverged', 'training-failed', 'out-of-range', 'model-unavailable', 'round-over', 'unknown-round', 'not-in-cohort', 'duplicate', 'too-stale', 'wrong-length', 'wrong-offset', 'checksum-mismatch', 'not-finite', 'weight-out-of-range', 'invalid-keys', 'invalid-shares', 'wrong-step'] },
  FailureKind: { words: ['missed-deadline', 'declined', 'rejected', 'lost'] },
  FrozenPart: { fields: { bytes: 'integer', parameters: 'integer', sha256: 'string', url: 'string' } },
  Gate: { fields: { by_clients: 'boolean', last: { maybe: 'GateRefusal' }, loss_increase: 'number', loss_limit: { maybe: 'number' }, rollbacks: 'integer' } },
  GateRefusal: { fields: { in_a_row: 'integer', limit: { maybe: 'number' }, loss: { maybe: 'number' }, round: 'integer', to: 'integer' } },
  Headline: { words: ['accuracy', 'bits_per_token', 'rmse'] },
  Health: { fields: { attempts: 'integer', failures: { list: 'Failure' }, reason: { maybe: 'string' }, since: 'time', state: 'HealthState' } },
  HealthState: { words: ['ok', 'waiting', 'failing'] },
  Metrics: { fields: { accuracy: { maybe: 'number' }, 'auc?': { maybe: 'number' }, 'bits_per_token?': { maybe: 'number' }, loss: { maybe: 'number' }, 'macro_f1?': { maybe: 'number' }, 'mae?': { maybe: 'number' }, 'perplexity?': { maybe: 'number' }, 'r2?': { maybe: 'number' }, 'rmse?': { maybe: 'number' }, 'top_5_accuracy?': { maybe: 'number' } } },
  Mistake: { fields: { path: 'string', problem: 'string' } },
  Model: { fields: { bytes: 'integer', frozen: { maybe: 'FrozenPart' }, input: { list: 'integer' }, loss: 'string', output: { list: 'integer' }, parameters: 'integer', round: 'integer', sha256: 'string', url: 'string', vocabulary: { maybe: 'integer' } } },
  Operated: { fields: { state: 'TaskState' } },
  OperatedRound: { fields: { accuracy: { maybe: 'number' }, attempt: 'integer', 'auc?': { maybe: 'number' }, 'bits_per_token?': { maybe: 'number' }, by_clients: { maybe: 'Metrics' }, bytes_down: 'integer', bytes_up: 'integer', cohort: 'integer', loss: { maybe: 'number' }, 'macro_f1?': { maybe: 'number' }, 'mae?': { maybe: 'number' }, 'perplexity?': { maybe: 'number' }, 'r2?': { maybe: 'number' }, refused: 'boolean', reports: 'integer', 'restored?': { maybe: 'integer' }, 'rmse?': { maybe: 'number' }, round: 'integer', seconds: 'number', 'top_5_accuracy?': { maybe: 'number' }, weight: 'integer' } },
  OperatedSummary: { fields: { attempt: 'integer', clients_connected: 'integer', cohort: 'Cohort', contested: 'integer', data: { maybe: { fields: {  } } }, evaluated: 'boolean', gate: { maybe: 'Gate' }, headline: 'Headline', health: 'Health', id: 'string', latest: { maybe: 'Quality' }, latest_by_clients: { maybe: 'Quality' }, model: 'Model', phase: 'Phase', privacy: { maybe: 'Privacy' }, round: 'integer', round_under_way: 'integer', rounds_total: { maybe: 'integer' }, seconds_left: { maybe: 'number' }, state: 'TaskState', title: 'string', weight: 'integer' } },
  OperatedTask: { fields: { attempt: 'integer', checkpoints: { list: 'integer' }, classes: { maybe: 'Classes' }, clients_connected: 'integer', cohort: 'Cohort', config: 'string', contested: 'integer', data: { maybe: { fields: {  } } }, decisions: { list: 'Decision' }, evaluated: 'boolean', gate: { maybe: 'Gate' }, headline: 'Headline', health: 'Health', history: { list: 'OperatedRound' }, id: 'string', latest: { maybe: 'Quality' }, latest_by_clients: { maybe: 'Quality' }, model: 'Model', phase: 'Phase', privacy: { maybe: 'Privacy' }, round: 'integer', round_under_way: 'integer', rounds_total: { maybe: 'integer' }, seconds_left: { maybe: 'number' }, state: 'TaskState', title: 'string', weight: 'integer' } },
  OperatorAction: { words: ['create', 'pause', 'resume', 'stop', 'roll-back'] },
  Phase: { words: ['selecting', 'collecting', 'sharing', 'masking', 'unmasking', 'finalizing', 'finished', 'paused'] },
  Policy: { words: ['distributed', 'local', 'central'] },
  Privacy: { fields: { clipping_norm: 'number', colluders: 'integer', counts_subjects: 'boolean', debits: 'integer', delta: 'number', epsilon: 'number', max_participations: 'integer', minimum_survivors: 'integer', noise_multiplier: 'number', policy: 'Policy', round_epsilon: 'number', spent_epsilon: 'number', subjects: 'integer', target_quantile: { maybe: 'number' } } },
  Quality: { fields: { accuracy: { maybe: 'number' }, 'auc?': { maybe: 'number' }, 'bits_per_token?': { maybe: 'number' }, loss: { maybe: 'number' }, 'macro_f1?': { maybe: 'number' }, 'mae?': { maybe: 'number' }, 'perplexity?': { maybe: 'number' }, 'r2?': { maybe: 'number' }, 'rmse?': { maybe: 'number' }, round: 'integer', 'top_5_accuracy?': { maybe: 'number' } } },
  RolledBack: { fields: { round: 'integer' } },
  Round: { fields: { accuracy: { maybe: 'number' }, 'auc?': { maybe: 'number' }, 'bits_per_token?': { maybe: 'number' }, by_clients: { maybe: 'Metrics' }, bytes_down: 'integer', bytes_up: 'integer', loss: { maybe: 'number' }, 'macro_f1?': { maybe: 'number' }, 'mae?': { maybe: 'number' }, 'perplexity?': { maybe: 'number' }, 'r2?': { maybe: 'number' }, refused: 'boolean', reports: 'integer', 'rmse?': { maybe: 'number' }, round: 'integer', seconds: 'number', 'top_5_accuracy?': { maybe: 'number' } } },
  ServerStatus: { fields: { connections: 'integer', draining: 'boolean', memory_bytes: { maybe: 'integer' }, sessions: 'integer', set_aside: { list: 'SetAsideTask' }, tasks: { list: 'OperatedSummary' }, upload_budget_bytes: 'integer', upload_bytes_in_flight: 'integer', uptime_seconds: 'number', version: 'string' } },
  SetAsideTask: { fields: { id: 'string', reason: 'string' } },
  Task: { fields: { attempt: 'integer', classes: { maybe: 'Classes' }, clients_connected: 'integer', cohort: 'Cohort', data: { maybe: { fields: {  } } }, evaluated: 'boolean', gate: { maybe: 'Gate' }, headline: 'Headline', health: 'Health', history: { list: 'Round' }, id: 'string', latest: { maybe: 'Quality' }, latest_by_clients: { maybe: 'Quality' }, model: 'Model', phase: 'Phase', privacy: { maybe: 'Privacy' }, round: 'integer', round_under_way: 'integer', rounds_total: { maybe: 'integer' }, seconds_left: { maybe: 'number' }, state: 'TaskState', title: 'string' } },
  TaskState: { words: ['running', 'paused', 'stopped', 'finished'] },
  TaskSummary: { fields: { attempt: 'integer', clients_connected: 'integer', cohort: 'Cohort', data: { maybe: { fields: {  } } }, evaluated: 'boolean', gate: { maybe: 'Gate' }, headline: 'Headline', health: 'Health', id: 'string', latest: { maybe: 'Quality' }, latest_by_clients: { maybe: 'Quality' }, model: 'Model', phase: 'Phase', privacy: { maybe: 'Privacy' }, round: 'integer', round_under_way: 'integer', rounds_total: { maybe: 'integer' }, seconds_left: { maybe: 'number' }, state: 'TaskState', title: 'string' } },
} as const;
