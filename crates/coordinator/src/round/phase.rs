//! The phase a task is in, what an event means to it, and how it moves on.

use fedra_protocol::{RoundId, RoundPhase, StandbyCause, UpdateFault, UpdateVerdict};

use super::buffering::Buffering;
use super::collecting::Collecting;
use super::context::Context;
use super::ended::{AbandonReason, Abandoned, Completed, Finished};
use super::finalizing::Finalizing;
use super::paused::Paused;
use super::pool::Pool;
use super::record::Ending;
use super::securing::Securing;
use super::selecting::Selecting;
use super::{ClientId, Effect, Event, Operation, Progress, RoundPlan, Stage, Time};

/// The phase a task is in, with what only that phase knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    Selecting(Selecting),
    Collecting(Collecting),
    Securing(Securing),
    Buffering(Buffering),
    Finalizing(Finalizing),
    Completed(Completed),
    Abandoned(Abandoned),
    Paused(Paused),
    Finished(Finished),
}

impl Phase {
    /// Phase that stands in for another while that is being consumed.
    pub(super) fn between(round: RoundId) -> Self {
        Self::Paused(Paused::new(round))
    }

    /// Handles an event, before the check that the phase ends.
    pub(super) fn handle(self, event: Event, context: &mut Context<'_>) -> Self {
        match event {
            Event::Reported { client, round, stage, weight } => {
                self.report(client, round, (stage, weight), context)
            }
            Event::Operated(Operation::Stop) => self.stop(context),
            Event::Restored(round) => self.restored(round, context),
            _ => match self {
                Self::Collecting(collecting) => collecting.handle(event, context),
                Self::Securing(securing) => securing.handle(event, context),
                Self::Buffering(buffering) => buffering.handle(event, context),
                Self::Finalizing(finalizing) => finalizing.handle(event),
                other => other,
            },
        }
    }

    /// Answers a report: exactly one answer in every phase.
    fn report(
        self,
        client: ClientId,
        round: RoundId,
        (stage, weight): (Stage, u64),
        context: &mut Context<'_>,
    ) -> Self {
        let (phase, (verdict, staleness)) = match self {
            // Too late to count, but the client on trial has shown that it can answer.
            phase if context.pool.awaits(client, round) => {
                context.note(client, Ending::Reported);
                (phase, (UpdateVerdict::Discarded(UpdateFault::RoundOver), 0))
            }
            Self::Collecting(collecting) if collecting.round() == round => {
                let (collecting, verdict) = collecting.report(client, stage, weight, context.plan);
                (Self::Collecting(collecting), (verdict, 0))
            }
            Self::Securing(mut securing) if securing.invitation(client) == round => {
                let verdict = securing.report(client, stage);
                (Self::Securing(securing), (verdict, 0))
            }
            Self::Buffering(mut buffering) => {
                let judged = buffering.report(client, round, (stage, weight), context);
                (Self::Buffering(buffering), judged)
            }
            other => {
                let verdict = context.misplaced(other.current(), round);
                (other, (verdict, 0))
            }
        };
        context.effects.push(Effect::Answer { client, round, verdict, staleness });
        if verdict == UpdateVerdict::Rejected(UpdateFault::WeightOutOfRange) {
            context.note(client, Ending::Failed(StandbyCause::Rejected));
        }
        phase
    }

    /// The round that is being made, or would be next.
    pub(super) fn current(&self) -> RoundId {
        match self {
            Self::Selecting(selecting) => selecting.round(),
            Self::Collecting(collecting) => collecting.round(),
            Self::Securing(securing) => securing.round(),
            Self::Buffering(buffering) => buffering.round(),
            Self::Finalizing(finalizing) => finalizing.round(),
            Self::Completed(completed) => completed.round(),
            Self::Abandoned(abandoned) => abandoned.round(),
            Self::Paused(paused) => paused.round(),
            Self::Finished(finished) => RoundId { round: finished.round().round + 1, attempt: 0 },
        }
    }

    /// Number of rounds whose model the machine has been told is stored.
    fn completed(&self) -> u64 {
        match self {
            Self::Buffering(buffering) => buffering.completed(),
            other => other.current().round - 1,
        }
    }

    /// The operator stops the task. What is being stored is stored; between
    /// rounds the end comes when things settle.
    fn stop(self, context: &mut Context<'_>) -> Self {
        let reason = AbandonReason::Stopped;
        match self {
            Self::Collecting(collecting) => {
                collecting.dismiss(context);
                Self::Abandoned(Abandoned::new(collecting.round(), reason))
            }
            Self::Securing(securing) => {
                securing.dismiss(context);
                Self::Abandoned(Abandoned::new(securing.round(), reason))
            }
            Self::Buffering(buffering) => buffering.end(reason, context),
            other => other,
        }
    }

    /// Handles a roll-back, which is completed round number `round`. A round that is under way
    /// starts from another model, and comes to nothing. One that is being stored and has a
    /// smaller number is durable: it is over, unannounced.
    fn restored(self, round: u64, context: &mut Context<'_>) -> Self {
        if round <= self.completed() {
            return self;
        }
        let under_way = match self {
            Self::Collecting(collecting) => {
                collecting.dismiss(context);
                vec![collecting.round()]
            }
            Self::Securing(securing) => {
                securing.dismiss(context);
                vec![securing.round()]
            }
            Self::Buffering(buffering) => buffering.give_up(context),
            Self::Finalizing(finalizing) => vec![finalizing.round()],
            _ => Vec::new(),
        };
        let unmade = under_way.into_iter().filter(|under_way| under_way.round >= round);
        let abandon = |round| Effect::Abandon(round, AbandonReason::RolledBack);
        context.effects.extend(unmade.map(abandon));
        context.go_on_with(context.fresh(round + 1))
    }

    /// Moves on as long as the phase it is in has come to its end.
    pub(super) fn settle(self, context: &mut Context<'_>) -> Self {
        let mut phase = self;
        loop {
            let reviewed = match phase {
                Self::Selecting(selecting) if context.is_to_rest() => {
                    Ok(context.go_on_with(selecting.round()))
                }
                Self::Selecting(selecting) => selecting.review(context).map_err(Self::Selecting),
                Self::Collecting(collecting) => {
                    collecting.review(context).map_err(Self::Collecting)
                }
                Self::Securing(securing) => {
                    securing.review(context).map_err(|securing| Self::Securing(*securing))
                }
                Self::Buffering(buffering) => match buffering.review(context) {
                    still @ Self::Buffering(_) => Err(still),
                    next => Ok(next),
                },
                Self::Completed(completed) => Ok(completed.next(context)),
                Self::Abandoned(abandoned) => Ok(abandoned.next(context)),
                Self::Paused(paused) => match context.go_on_with(paused.round()) {
                    still @ Self::Paused(_) => Err(still),
                    next => Ok(next),
                },
                Self::Finalizing(_) | Self::Finished(_) => Err(phase),
            };
            phase = match reviewed {
                Ok(next) => next,
                Err(same) => return same,
            };
        }
    }

    /// Next time at which time alone changes something.
    pub(super) fn wake_at(&self, plan: &RoundPlan, held_until: Option<Time>) -> Option<Time> {
        match self {
            Self::Selecting(selecting) => selecting.wake_at(plan, held_until),
            Self::Collecting(collecting) => collecting.wake_at(plan),
            Self::Securing(securing) => securing.wake_at(),
            Self::Buffering(buffering) => buffering.wake_at(),
            _ => None,
        }
    }

    /// Available clients that must not count in the round again.
    pub(super) fn barred(&self, pool: &Pool, plan: &RoundPlan) -> usize {
        match self {
            Self::Buffering(buffering) => buffering.barred(pool, plan),
            _ => 0,
        }
    }

    pub(super) fn members(&self, plan: &RoundPlan) -> Vec<ClientId> {
        match self {
            Self::Collecting(collecting) => collecting.members(),
            Self::Securing(securing) => securing.members(),
            Self::Buffering(buffering) => buffering.members(plan),
            _ => Vec::new(),
        }
    }

    /// Clients that a stage asks, which has begun or is being prepared.
    pub(super) fn asked(&self, plan: &RoundPlan) -> Vec<ClientId> {
        match self {
            Self::Buffering(buffering) => {
                buffering.group().map_or_else(Vec::new, Securing::members)
            }
            other => other.members(plan),
        }
    }

    /// Round of the invitation with which a client takes part in `round`.
    pub(super) fn invitation(&self, client: ClientId, round: RoundId) -> RoundId {
        let group = match self {
            Self::Securing(securing) => Some(securing),
            Self::Buffering(buffering) => buffering.group(),
            _ => None,
        };
        group.filter(|group| group.groups(client)).map_or(round, |group| group.invitation(client))
    }

    /// Progress of the round, with `clients` clients connected to the task.
    pub(super) fn progress(&self, clients: usize) -> Progress {
        let empty = |round, phase| Progress {
            round,
            phase,
            clients,
            cohort: 0,
            reported: 0,
            left: 0,
            available: 0,
            left_out: 0,
            weight: 0,
            deadline: None,
        };
        match self {
            Self::Selecting(selecting) => empty(selecting.round(), RoundPhase::Selecting),
            Self::Collecting(collecting) => {
                collecting.progress(empty(collecting.round(), RoundPhase::Collecting))
            }
            Self::Securing(securing) => {
                securing.progress(empty(securing.round(), securing.phase()))
            }
            Self::Buffering(buffering) => match buffering.group() {
                // The open round comes after it.
                Some(group) => group.progress(empty(group.round(), group.phase())),
                None => buffering.progress(empty(buffering.round(), RoundPhase::Collecting)),
            },
            Self::Finalizing(finalizing) => {
                finalizing.progress(empty(finalizing.round(), RoundPhase::Finalizing))
            }
            Self::Completed(completed) => empty(completed.round(), RoundPhase::Finalizing),
            Self::Abandoned(abandoned) => empty(abandoned.round(), RoundPhase::Selecting),
            Self::Paused(paused) => empty(paused.round(), RoundPhase::Paused),
            Self::Finished(finished) => empty(finished.round(), RoundPhase::Finished),
        }
    }
}
