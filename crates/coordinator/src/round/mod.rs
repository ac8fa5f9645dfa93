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
//! is made. Under secure aggregation it holds one Securing at a time, of a masking group.
//!
//! Effects name clients that have joined and neither left nor were sent away.
//! Some may be lost for the moment: an order to such a client waits for it, and
//! [`Effect::Dismiss`] withdraws it.

mod buffering;
mod cohort;
mod collecting;
mod context;
mod ended;
mod finalizing;
mod in_flight;
mod pacing;
mod paused;
mod phase;
mod plan;
mod pool;
mod record;
mod securing;
mod selecting;
#[cfg(test)]
mod tests;
mod waiting;

use std::mem;
use std::time::Duration;

use fedra_protocol::{Availability, RoundId, RoundPhase, StandbyCause, UpdateVerdict};
use rand::Rng;

use context::Context;
pub use ended::AbandonReason;
use finalizing::Finalizing;
use pacing::Hold;
use phase::Phase;
pub use plan::{Mode, Operation, Protection, RoundPlan, Standing, Time};
use pool::Pool;
pub use record::{Ending, Record, Trust};

/// A client, the same over its reconnects within a run of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub u64);

/// Contributions of an invited client, in the order in which it may be asked for them.
/// Without secure aggregation there is one, the update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The update itself.
    Update,
    /// Its keys: it has trained and takes part in secure aggregation. In buffered rounds it
    /// waits for a masking group.
    Keys,
    /// Shares of its secrets, encrypted to its neighbours.
    Shares,
    /// Its masked update.
    MaskedInput,
    /// Shares that take the masks off the sum.
    UnmaskingShares,
}

/// State of the task's privacy budget: room for another round, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// It has, or there is no budget.
    Left,
    /// It has not: the attempt that is paid for already is the last.
    Spent,
}

/// Right of a client's subject to take part, by the privacy ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Eligibility {
    /// It may take part.
    #[default]
    Free,
    /// It has taken part not long ago, and may again from this round on.
    Rests(u64),
    /// It has taken part as often as the task allows.
    Spent,
}

/// Input of the machine: an event that has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A client checked in that was not there.
    Joined {
        /// The client.
        client: ClientId,
        /// Availability for an invitation.
        availability: Availability,
        /// Eligibility of its subject.
        eligibility: Eligibility,
        /// Record that is remembered of the client.
        record: Record,
    },
    /// A client's connection broke. It may come back.
    Lost(ClientId),
    /// A lost client is back. What it was last asked for is repeated to it without an
    /// effect that says so.
    Returned(ClientId, Availability),
    /// A client is gone for good.
    Left(ClientId),
    /// A client paused or resumed.
    AvailabilityChanged(ClientId, Availability),
    /// A client gives a round up.
    Declined(ClientId, RoundId),
    /// The client's contribution to a round is worthless.
    Refused(ClientId, RoundId),
    /// Secure aggregation goes on without the client, because too few of its neighbours
    /// are left. It has not failed.
    Excluded(ClientId, RoundId),
    /// The client's contribution is complete and passes all checks.
    Reported {
        /// Client that sent the contribution.
        client: ClientId,
        /// For which round: that of its invitation.
        round: RoundId,
        /// Stage of the contribution.
        stage: Stage,
        /// Its weight in the average.
        weight: u64,
    },
    /// The requests of a stage are on their way to the clients.
    Prepared(RoundId, Stage),
    /// A stage could not be prepared.
    NotPrepared(RoundId, Stage),
    /// A client's subject has taken part.
    EligibilityChanged(ClientId, Eligibility),
    /// The privacy budget has no room for another debit. A buffered round that is open
    /// has had none, and comes to nothing.
    BudgetSpent,
    /// The new model of a round is durable.
    Stored(RoundId),
    /// The new model of a round could not be made or stored.
    NotStored(RoundId),
    /// The new model of a round would have a value that is not finite: it was not
    /// stored.
    NotFinite(RoundId),
    /// The operator has spoken, and it is durable.
    Operated(Operation),
    /// The operator or the task's gate went back to an earlier model, and it is durable: as
    /// the model of this round, which counts as completed.
    Restored(u64),
    /// Nothing but time.
    TimePassed,
}

/// Output of the machine: an effect to be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// A round starts to collect: start a sum. In buffered rounds the one
    /// before it may still be on its way to the store. Under secure aggregation a buffered
    /// round has its sum from its masking group on: see [`Stage::Shares`].
    Open(RoundId),
    /// Send the client an assignment with the newest stored model; the deadline
    /// is at this time.
    Invite(ClientId, RoundId, Time),
    /// The same for a client on trial. The round does not wait for it: its update may
    /// come until the deadline, even if the task is in a later round by then.
    InviteOnTrial(ClientId, RoundId, Time),
    /// The client's invitation has come to nothing.
    Failed(ClientId, StandbyCause),
    /// Tell the client that it is left out until this time, and how its last
    /// invitation came to nothing.
    StandBy(ClientId, StandbyCause, Time),
    /// The machine has forgotten the client: keep its record for the case that it
    /// comes back.
    Remember(ClientId, Record),
    /// Tell the client that enough others wait, and to come back after this
    /// time; then close. The machine has forgotten it already.
    SendAway(ClientId, Duration),
    /// Prepare the stage: make the privacy debit if it is due, and the requests;
    /// then send [`Event::Prepared`] or [`Event::NotPrepared`].
    Advance(RoundId, Stage),
    /// Answer a report. An accepted one goes to the writer, into the
    /// sum that was opened last.
    Answer {
        /// Client that sent the report.
        client: ClientId,
        /// For which round: that of its invitation.
        round: RoundId,
        /// Verdict on the report.
        verdict: UpdateVerdict,
        /// Models made since its own, when it is accepted; see
        /// [`Mode::discount`]. 0 in synchronous rounds.
        staleness: u32,
    },
    /// The round goes on or ends without this client.
    Dismiss(ClientId, RoundId),
    /// Make the new model of the round, store it, and send
    /// [`Event::Stored`], [`Event::NotStored`] or [`Event::NotFinite`].
    Finalize(RoundId, RoundCounts),
    /// The round's model is durable: announce it.
    Complete(RoundId),
    /// The attempt came to nothing.
    Abandon(RoundId, AbandonReason),
    /// Buffered rounds: the sum that was opened as `from` goes on as `to`: because the
    /// round before it was not stored (then no client was invited to `from`), or
    /// because all who were invited to `from` have failed.
    Renumber {
        /// The name that it loses.
        from: RoundId,
        /// The next attempt of the round that failed.
        to: RoundId,
    },
}

/// Numbers of a round when its reports are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RoundCounts {
    /// Clients that were asked.
    pub cohort: usize,
    /// Reports in the sum.
    pub reported: usize,
    /// Their weight, before any discount.
    pub weight: u64,
}

/// Progress of the round, for people and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The round that is being made, or the last of a finished task.
    pub round: RoundId,
    /// Phase of the round.
    pub phase: RoundPhase,
    /// Clients that are connected, paused ones too.
    pub clients: usize,
    /// Invited clients. In buffered rounds those at work now, and those that
    /// have reported or left since the round opened.
    pub cohort: usize,
    /// Accepted reports.
    pub reported: usize,
    /// Invited clients that left, declined, were refused or are lost, and those on
    /// trial that have not reported.
    pub left: usize,
    /// Clients that may be invited, those on trial too.
    pub available: usize,
    /// Connected clients that are left out because their invitations came to nothing.
    pub left_out: usize,
    /// Total weight of the accepted reports.
    pub weight: u64,
    /// Latest end of the round, while collecting.
    pub deadline: Option<Time>,
}

/// The state of a task's rounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Rounds {
    plan: RoundPlan,
    pool: Pool,
    budget: Budget,
    standing: Standing,
    opened: Option<RoundId>,
    hold: Hold,
    phase: Phase,
}

impl Rounds {
    /// Goes on after `completed` rounds (0 for a new task) with no client connected, at
    /// attempt number `attempt` of the next.
    #[must_use]
    pub fn new(
        plan: RoundPlan,
        completed: u64,
        attempt: u32,
        budget: Budget,
        standing: Standing,
    ) -> Self {
        let next = RoundId { round: completed + 1, attempt };
        let phase = ended::before(next, &plan, budget, standing);
        let (pool, hold) = (Pool::default(), Hold::default());
        Self { plan, pool, budget, standing, opened: None, hold, phase }
    }

    /// Goes on with no client connected, where the model of `round` is durable and not
    /// announced: the machine waits to be told that it is stored.
    #[must_use]
    pub fn storing(
        plan: RoundPlan,
        round: RoundId,
        counts: RoundCounts,
        budget: Budget,
        standing: Standing,
    ) -> Self {
        let phase = Phase::Finalizing(Finalizing::new(round, counts));
        Self { phase, ..Self::new(plan, round.round - 1, round.attempt, budget, standing) }
    }

    /// Takes one event. `now` never goes back from call to call.
    ///
    /// A deadline that has passed by `now` comes before the event: a report at
    /// the deadline is late. A report is answered by exactly one [`Effect::Answer`].
    pub fn step(&mut self, event: Event, now: Time, rng: &mut dyn Rng) -> Vec<Effect> {
        let Self { plan, pool, budget, standing, opened, hold, phase } = self;
        let mut effects = Vec::new();
        let mut context = Context {
            plan,
            pool,
            budget: *budget,
            standing: *standing,
            opened: *opened,
            hold,
            leaving: None,
            now,
            rng,
            effects: &mut effects,
        };
        context.expire();
        // Transitions consume the phase; this one stands in for it meanwhile.
        let between = Phase::between(phase.current());
        let settled = mem::replace(phase, between).settle(&mut context);
        context.leaving = match event {
            Event::Left(client) => Some(client),
            _ => None,
        };
        context.follow(event);
        let handled = settled.handle(event, &mut context);
        context.conclude(event);
        *phase = handled.settle(&mut context);
        (*budget, *standing, *opened) = (context.budget, context.standing, context.opened);
        effects
    }

    /// Time at which [`Event::TimePassed`] is due if nothing else happens. After a step
    /// it lies in the future.
    #[must_use]
    pub fn wake_at(&self) -> Option<Time> {
        let held_until = self.hold.until(self.pool.arrivals());
        let phase = self.phase.wake_at(&self.plan, held_until);
        phase.into_iter().chain(self.pool.wake_at()).min()
    }

    /// Operator's last decision that the machine has been told. A paused task may still
    /// be at its last round.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// True if the last round is done.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        matches!(self.phase, Phase::Finished(_))
    }

    /// The clients of the stage that the round is in, or those at work in buffered
    /// rounds and those that must not count in the open one again; none between rounds.
    #[must_use]
    pub fn members(&self) -> Vec<ClientId> {
        self.phase.members(&self.plan)
    }

    /// Clients that the newest stage asks for something.
    #[must_use]
    pub fn asked(&self) -> Vec<ClientId> {
        self.phase.asked(&self.plan)
    }

    /// Round of the invitation with which a client takes part in `round`: another one in a
    /// masking group of buffered rounds.
    #[must_use]
    pub fn invitation(&self, client: ClientId, round: RoundId) -> RoundId {
        self.phase.invitation(client, round)
    }

    /// Progress of the round.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let pool = &self.pool;
        let barred = self.phase.barred(pool, &self.plan);
        Progress {
            available: pool.available_count() + pool.on_trial_count() - barred,
            left_out: pool.left_out(),
            ..self.phase.progress(pool.connected())
        }
    }
}
