/**
 * Protection of the visitor, from the task's description and the client's events.
 * Pure; the texts are in privacy-words.ts.
 */
import type { PrivacyEvent, PrivacyFloors, PrivacyPolicy } from 'fedra';
import type { Privacy } from './api.js';
import type { PageState } from './state.js';

/** The terms of a task, and the cost so far. Null: not known, or without a limit. */
export interface Protection {
  readonly policy: PrivacyPolicy;
  /** True if the server sees sums only. */
  readonly sumsOnly: boolean;
  readonly noiseMultiplier: number | null;
  readonly minimumSurvivors: number | null;
  readonly colluders: number | null;
  readonly delta: number | null;
  /** Every epsilon is one person's whole part, at `delta`. */
  readonly budget: number | null;
  readonly round: number | null;
  /** This browser's; not known before it has checked in. */
  readonly spent: number | null;
  readonly next: number | null;
  readonly participations: number | null;
  readonly maxParticipations: number | null;
  readonly taskSpent: number | null;
  readonly examplePrivacy: PrivacyEvent['examplePrivacy'];
}

/** The protection of the task in view; undefined as long as no task is known. */
export function protectionOf({ privacy, task }: Pick<PageState, 'privacy' | 'task'>): Protection | undefined {
  if (!privacy) return task ? fromTask(task.privacy) : undefined;
  const terms = fromTerms(privacy);
  return { ...terms, taskSpent: terms.taskSpent ?? task?.privacy?.spent_epsilon ?? null };
}

/** The protection by the terms that the client reported after its check-in. */
export function fromTerms(terms: PrivacyEvent): Protection {
  return {
    policy: terms.policy,
    sumsOnly: terms.secureAggregation,
    noiseMultiplier: terms.noiseMultiplier,
    minimumSurvivors: terms.minimumSurvivors,
    colluders: terms.colluders,
    delta: terms.delta,
    budget: terms.budgetEpsilon,
    round: terms.roundEpsilon,
    spent: terms.spentEpsilon,
    next: terms.nextEpsilon,
    participations: terms.participations,
    maxParticipations: terms.maxParticipations,
    taskSpent: terms.taskSpentEpsilon,
    examplePrivacy: terms.examplePrivacy,
  };
}

function fromTask(privacy: Privacy | null): Protection {
  return {
    policy: privacy?.policy ?? 'none',
    sumsOnly: privacy?.policy === 'distributed',
    noiseMultiplier: privacy?.noise_multiplier ?? null,
    minimumSurvivors: privacy?.minimum_survivors ?? null,
    colluders: privacy?.colluders ?? null,
    delta: privacy?.delta ?? null,
    budget: privacy?.epsilon ?? null,
    round: privacy?.round_epsilon ?? null,
    spent: null,
    next: null,
    participations: null,
    maxParticipations: privacy?.max_participations ?? null,
    taskSpent: privacy?.spent_epsilon ?? null,
    examplePrivacy: null,
  };
}

/** Floors for the client: the terms that the page has shown before the click. */
export function floorsOf(privacy: Privacy | null): PrivacyFloors | undefined {
  if (!privacy) return undefined;
  return {
    minNoiseMultiplier: privacy.noise_multiplier,
    minCohort: Math.max(1, privacy.minimum_survivors - privacy.colluders),
    maxEpsilon: privacy.epsilon,
    requireSecureAggregation: privacy.policy === 'distributed',
  };
}

/** True if this browser has taken part as often as the task allows. */
export function isUsedUp({ privacy }: Pick<PageState, 'privacy'>): boolean {
  if (!privacy || privacy.policy === 'none' || privacy.maxParticipations === null) return false;
  return privacy.participations >= privacy.maxParticipations;
}

/** True if a private task ended before its last round, which only a spent budget causes. */
export function isBudgetSpent({ task, round, privacy }: Pick<PageState, 'task' | 'round' | 'privacy'>): boolean {
  const isPrivate = privacy ? privacy.policy !== 'none' : task?.privacy != null;
  const isFinished = round ? round.phase === 'finished' : task?.state === 'finished';
  const done = Math.max(task?.round ?? 0, round?.round ?? 0);
  const total = round?.roundsTotal ?? task?.rounds_total ?? undefined;
  return isPrivate && isFinished && task?.state !== 'stopped' && (total === undefined || done < total);
}
