//! The rounds of one task as a pure machine: `(state, event, now) -> (state,
//! effects)`.
//!
//! It decides who is invited, which reports count, and when a round closes. It
//! reads no clock, draws no randomness of its own, sees no update and does no
//! I/O: time and random numbers are arguments, and what is to be done comes out
//! as [`Effect`]s for the coordinator.
//!
//! ```text
//! Selecting -> Collecting -> Finalizing -> Completed -> Selecting (next round)
//!                  |   \           ^ |                    | Paused | Finished
//!                  |    Securing --+ |
//!                  |       |         |
//!                  +-------+---------+--> Abandoned -> Selecting (next attempt)
//!                                                         | Paused | Finished
//! ```
//! Securing is secure aggregation, for tasks that have it. With buffered rounds
//! Selecting leads into Buffering, which stays while one round after the other
//! is made.
//!
//! Effects name clients that have joined and neither left nor were sent away.
//! Some may be lost for the moment: an order to such a client waits for it, and
//! [`Effect::Dismiss`] withdraws it.

mod collecting;
mod ended;
mod finalizing;
mod plan;
mod pool;
mod roster;
mod securing;
mod selecting;
#[cfg(test)]
mod tests;

use fedra_protocol::{Availability, RoundId, RoundPhase, UpdateFault, UpdateVerdict};
use rand::Rng;

use collecting::Collecting;
pub use ended::AbandonReason;
use ended::{Abandoned, Completed, Finished};
use finalizing::Finalizing;
pub use plan::{Mode, Operation, Protection, RoundPlan, Standing, Time};
use pool::Pool;
use securing::Securing;
use selecting::Selecting;

/// A client, the same over its reconnects within a run of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub u64);

/// What an invited client sends, in the order in which it may be asked for it.
/// Without secure aggregation it is one update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The update itself.
    Update,
    /// Its keys: it has trained and takes part in secure aggregation.
    Keys,
    /// Shares of its secrets, encrypted to its neighbours.
    Shares,
    /// Its masked update.
    MaskedInput,
    /// Shares that take the masks off the sum.
    UnmaskingShares,
}

/// Whether the task's privacy budget has room for another round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// It has, or there is no budget.
    Left,
    /// It has not: the attempt under way is the last.
    Spent,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A client checked in; it is available.
    Joined(ClientId),
    /// A client's connection broke. It may come back.
    Lost(ClientId),
    /// A lost client is back; like one that joins it is available. What it was
    /// last asked for is repeated to it without an effect that says so.
    Returned(ClientId),
    /// A client is gone for good.
    Left(ClientId),
    /// A client paused or resumed.
    AvailabilityChanged(ClientId, Availability),
    /// A client gives a round up.
    Declined(ClientId, RoundId),
    /// What a client sent for a round is worthless.
    Refused(ClientId, RoundId),
    /// What a client sent is complete and, as far as can be seen, sound.
    Reported {
        /// Who.
        client: ClientId,
        /// For which round: that of its invitation.
        round: RoundId,
        /// What it is.
        stage: Stage,
        /// Its weight in the average.
        weight: u64,
    },
    /// The requests of a stage are on their way to the clients.
    Prepared(RoundId, Stage),
    /// A stage could not be prepared.
    NotPrepared(RoundId, Stage),
    /// A client's subject has taken part as often as the task allows.
    ParticipationsSpent(ClientId),
    /// The privacy budget has no room for another debit.
    BudgetSpent,
    /// The new model of a round is durable.
    Stored(RoundId),
    /// The new model of a round could not be made or stored.
    NotStored(RoundId),
    /// The operator has spoken, and it is durable.
    Operated(Operation),
    /// The operator went back to an earlier model, and it is durable: as the
    /// model of this round, which counts as completed.
    Restored(u64),
    /// Nothing but time.
    TimePassed,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// A round starts to collect: start a sum. In buffered rounds the one
    /// before it may still be on its way to the store.
    Open(RoundId),
    /// Send the client an assignment with the newest stored model; the deadline
    /// is at this time.
    Invite(ClientId, RoundId, Time),
    /// Tell the client that enough others wait, and to come back after this
    /// time; then close. The machine has forgotten it already.
    SendAway(ClientId, Duration),
    /// Prepare the stage: make the privacy debit if it is due, and the requests;
    /// then send [`Event::Prepared`] or [`Event::NotPrepared`].
    Advance(RoundId, Stage),
    /// Answer a report. An accepted one goes to the aggregation thread, into the
    /// sum that was opened last.
    Answer {
        /// Whose.
        client: ClientId,
        /// For which round: that of its invitation.
        round: RoundId,
        /// What becomes of it.
        verdict: UpdateVerdict,
        /// Models made since its own, when it is accepted; see
        /// [`Mode::discount`]. 0 in synchronous rounds.
        staleness: u32,
    },
    /// The round goes on or ends without this client.
    Dismiss(ClientId, RoundId),
    /// Make the new model of the round, store it, and send
    /// [`Event::Stored`] or [`Event::NotStored`].
    Finalize(RoundId, Tally),
    /// The round's model is durable: announce it.
    Complete(RoundId),
    /// The attempt came to nothing.
    Abandon(RoundId, AbandonReason),
    /// Buffered rounds: the sum that was opened as `from` goes on as `to`,
    /// because the round before it was not stored. Nobody was invited to `from`.
    Renumber {
        /// The name that it loses.
        from: RoundId,
        /// The next attempt of the round that failed.
        to: RoundId,
    },
}

/// What there is to say about a round when its reports are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Clients that were asked.
    pub cohort: usize,
    /// Reports in the sum.
    pub reported: usize,
    /// Their weight, before any discount.
    pub weight: u64,
}

/// How far the round is, for people and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The round that is being made, or the last of a finished task.
    pub round: RoundId,
    /// What is happening in it.
    pub phase: RoundPhase,
    /// Clients that are connected, paused ones too.
    pub clients: usize,
    /// Invited clients. In buffered rounds those at work now, and those that
    /// have reported or left since the round opened.
    pub cohort: usize,
    /// Accepted reports.
    pub reported: usize,
    /// Invited clients that left, declined, were refused or are lost.
    pub left: usize,
    /// Total weight of the accepted reports.
    pub weight: u64,
    /// When the round closes at the latest, while collecting.
    pub deadline: Option<Time>,
}

/// The phase a task is in, with what only that phase knows.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Selecting(Selecting),
    Collecting(Collecting),
    Securing(Securing),
    Finalizing(Finalizing),
    Completed(Completed),
    Abandoned(Abandoned),
    Finished(Finished),
}

/// What every phase may look at, and where it leaves its effects.
struct Context<'a> {
    plan: &'a RoundPlan,
    pool: &'a Pool,
    budget: Budget,
    now: Time,
    rng: &'a mut dyn Rng,
    effects: &'a mut Vec<Effect>,
}

/// The state of a task's rounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rounds {
    plan: RoundPlan,
    pool: Pool,
    budget: Budget,
    phase: Phase,
}

impl Rounds {
    /// Goes on after `completed` rounds (0 for a new task) with nobody connected,
    /// at attempt number `attempt` of the next.
    #[must_use]
    pub fn new(plan: RoundPlan, completed: u64, attempt: u32, budget: Budget) -> Self {
        let phase = ended::after(&plan, completed, attempt, budget);
        Self { plan, pool: Pool::default(), budget, phase }
    }

    /// Takes one event. `now` never goes back from call to call.
    ///
    /// A deadline that has passed by `now` comes before the event: a report at
    /// the deadline is late.
    #[must_use]
    pub fn step(self, event: Event, now: Time, rng: &mut dyn Rng) -> (Self, Vec<Effect>) {
        let Self { plan, mut pool, mut budget, mut phase } = self;
        let mut effects = Vec::new();
        let mut context =
            Context { plan: &plan, pool: &pool, budget, now, rng, effects: &mut effects };
        phase = phase.settle(&mut context);
        pool.apply(event);
        if event == Event::BudgetSpent {
            budget = Budget::Spent;
        }
        let mut context =
            Context { plan: &plan, pool: &pool, budget, now, rng, effects: &mut effects };
        phase = phase.handle(event, &mut context).settle(&mut context);
        (Self { plan, pool, budget, phase }, effects)
    }

    /// When [`Event::TimePassed`] is due if nothing else happens.
    #[must_use]
    pub fn wake_at(&self) -> Option<Time> {
        match &self.phase {
            Phase::Selecting(selecting) => selecting.wake_at(&self.plan),
            Phase::Collecting(collecting) => collecting.deadline(),
            Phase::Securing(securing) => securing.deadline(),
            _ => None,
        }
    }

    /// Whether the last round is done.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        matches!(self.phase, Phase::Finished(_))
    }

    /// The clients of the stage that the round is in; nobody between rounds.
    #[must_use]
    pub fn members(&self) -> Vec<ClientId> {
        match &self.phase {
            Phase::Collecting(collecting) => collecting.members(),
            Phase::Securing(securing) => securing.members(),
            _ => Vec::new(),
        }
    }

    /// How far the round is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let empty = |round, phase| Progress {
            round,
            phase,
            clients: self.pool.connected(),
            cohort: 0,
            reported: 0,
            left: 0,
            weight: 0,
            deadline: None,
        };
        match &self.phase {
            Phase::Selecting(selecting) => empty(selecting.round(), RoundPhase::Selecting),
            Phase::Collecting(collecting) => {
                collecting.progress(empty(collecting.round(), RoundPhase::Collecting))
            }
            Phase::Securing(securing) => {
                securing.progress(empty(securing.round(), securing.phase()))
            }
            Phase::Finalizing(finalizing) => {
                finalizing.progress(empty(finalizing.round(), RoundPhase::Finalizing))
            }
            Phase::Completed(completed) => empty(completed.round(), RoundPhase::Finalizing),
            Phase::Abandoned(abandoned) => empty(abandoned.round(), RoundPhase::Selecting),
            Phase::Finished(finished) => empty(finished.round(), RoundPhase::Finished),
        }
    }
}

impl Phase {
    /// What an event means to this phase, before anybody looks whether it ends.
    fn handle(self, event: Event, context: &mut Context<'_>) -> Self {
        if let Event::Reported { client, round, stage, weight } = event {
            return self.report(client, round, (stage, weight), context);
        }
        match self {
            // Selecting has not begun an attempt that the last debit could pay.
            Self::Selecting(selecting) if event == Event::BudgetSpent => {
                ended::after(context.plan, selecting.round().round - 1, 0, Budget::Spent)
            }
            Self::Collecting(collecting) => collecting.handle(event, context),
            Self::Securing(securing) => securing.handle(event, context),
            Self::Finalizing(finalizing) => finalizing.handle(event),
            other => other,
        }
    }

    /// Every report gets exactly one answer, whatever the phase.
    fn report(
        self,
        client: ClientId,
        round: RoundId,
        (stage, weight): (Stage, u64),
        context: &mut Context<'_>,
    ) -> Self {
        let (phase, verdict) = match self {
            Self::Collecting(collecting) if collecting.round() == round => {
                let (collecting, verdict) = collecting.report(client, stage, weight, context.plan);
                (Self::Collecting(collecting), verdict)
            }
            Self::Securing(securing) if securing.round() == round => {
                let (securing, verdict) = securing.report(client, stage);
                (Self::Securing(securing), verdict)
            }
            other => {
                let verdict = other.misplaced(round);
                (other, verdict)
            }
        };
        context.effects.push(Effect::Answer(client, round, verdict));
        phase
    }

    /// The verdict on a report for a round that is not collecting.
    fn misplaced(&self, round: RoundId) -> UpdateVerdict {
        let (current, begun) = match self {
            Self::Selecting(selecting) => (selecting.round(), false),
            Self::Collecting(collecting) => (collecting.round(), true),
            Self::Securing(securing) => (securing.round(), true),
            Self::Finalizing(finalizing) => (finalizing.round(), true),
            Self::Completed(completed) => (completed.round(), true),
            Self::Abandoned(abandoned) => (abandoned.round(), true),
            // No attempt at its last round can follow.
            Self::Finished(finished) => (RoundId { attempt: u32::MAX, ..finished.round() }, true),
        };
        if round < current || (round == current && begun) {
            UpdateVerdict::Discarded(UpdateFault::RoundOver)
        } else {
            UpdateVerdict::Rejected(UpdateFault::UnknownRound)
        }
    }

    /// Moves on as long as the phase it is in has come to its end.
    fn settle(self, context: &mut Context<'_>) -> Self {
        let mut phase = self;
        loop {
            phase = match phase {
                Self::Selecting(selecting) => match selecting.review(context) {
                    Ok(collecting) => Self::Collecting(collecting),
                    Err(selecting) => return Self::Selecting(selecting),
                },
                Self::Collecting(collecting) => match collecting.review(context) {
                    Ok(closed) => closed,
                    Err(collecting) => return Self::Collecting(collecting),
                },
                Self::Securing(securing) => match securing.review(context) {
                    Ok(closed) => closed,
                    Err(securing) => return Self::Securing(securing),
                },
                Self::Completed(completed) => completed.next(context),
                Self::Abandoned(abandoned) => abandoned.next(context),
                Self::Finalizing(_) | Self::Finished(_) => return phase,
            };
        }
    }
}
