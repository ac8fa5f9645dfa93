//! The machine's histories, told event by event, and properties of random ones.

mod buffered;
mod buffered_masked;
mod buffered_private;
mod exclusions;
mod histories;
mod operators;
mod protected;
mod reconnects;
mod steering;
mod synchronous;

use fedra_protocol::UpdateFault;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::fixtures::{PLAN, STEP};

const GRACE: Duration = PLAN.reconnect_grace;

/// The same with secure aggregation.
const SECURE: RoundPlan =
    RoundPlan { protection: Protection::Secure { step_deadline: STEP }, ..PLAN };

/// The same with buffered rounds.
const BUFFERED: RoundPlan =
    RoundPlan { mode: Mode::Buffered { max_staleness: 2, staleness_exponent: 0.5 }, ..PLAN };

/// A machine with a clock that only the test moves.
struct Script {
    rounds: Rounds,
    now: Time,
    rng: StdRng,
}

impl Script {
    fn new(plan: RoundPlan) -> Self {
        Self::after(Rounds::new(plan, 0, 0, Budget::Left, Standing::Running))
    }

    fn after(rounds: Rounds) -> Self {
        Self { rounds, now: Time::default(), rng: StdRng::seed_from_u64(7) }
    }

    /// Effects of an event, without the notes.
    fn step(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = self.step_with_notes(event);
        effects.retain(|effect| !matches!(effect, Effect::Remember(..) | Effect::Failed(..)));
        effects
    }

    fn step_with_notes(&mut self, event: Event) -> Vec<Effect> {
        self.rounds.step(event, self.now, &mut self.rng)
    }

    fn wait(&mut self, duration: Duration) -> Vec<Effect> {
        self.now = self.now + duration;
        self.step(Event::TimePassed)
    }

    /// Joins clients 1 to `count`; the effects of the last one.
    fn join(&mut self, count: u64) -> Vec<Effect> {
        (1..=count).map(|id| self.step(joined(id))).last().unwrap_or_default()
    }

    fn report(&mut self, id: u64, round: RoundId) -> Vec<Effect> {
        self.send(id, round, Stage::Update)
    }

    fn send(&mut self, id: u64, round: RoundId, stage: Stage) -> Vec<Effect> {
        self.step(Event::Reported { client: ClientId(id), round, stage, weight: 10 })
    }

    /// All of `ids` answer; the effects of the last one.
    fn all_send(&mut self, ids: &[u64], stage: Stage) -> Vec<Effect> {
        ids.iter().map(|id| self.send(*id, R1, stage)).last().unwrap_or_default()
    }

    /// The stage's requests are on their way.
    fn prepare(&mut self, stage: Stage) -> Vec<Effect> {
        self.step(Event::Prepared(R1, stage))
    }

    fn operate(&mut self, operation: Operation) -> Vec<Effect> {
        self.step(Event::Operated(operation))
    }

    fn phase(&self) -> RoundPhase {
        self.rounds.progress().phase
    }

    fn round(&self) -> RoundId {
        self.rounds.progress().round
    }
}

/// A newcomer checks in.
fn joined(id: u64) -> Event {
    let (client, record) = (ClientId(id), Record::default());
    Event::Joined {
        client,
        availability: Availability::Available,
        eligibility: Eligibility::Free,
        record,
    }
}

const fn round(round: u64, attempt: u32) -> RoundId {
    RoundId { round, attempt }
}

fn answer(id: u64, round: RoundId, verdict: UpdateVerdict) -> Effect {
    Effect::Answer { client: ClientId(id), round, verdict, staleness: 0 }
}

fn dismiss(id: u64, round: RoundId) -> Effect {
    Effect::Dismiss(ClientId(id), round)
}

/// Reports of a script weigh 10.
fn finalize(round: RoundId, cohort: usize, reported: usize) -> Effect {
    Effect::Finalize(round, RoundCounts { cohort, reported, weight: 10 * reported as u64 })
}

/// The clients that are invited by some effects, ordered.
fn invited(effects: &[Effect]) -> Vec<u64> {
    let invited = |effect: &Effect| match effect {
        Effect::Invite(client, ..) => Some(client.0),
        _ => None,
    };
    let mut invited: Vec<u64> = effects.iter().filter_map(invited).collect();
    invited.sort_unstable();
    invited
}

const ACCEPTED: UpdateVerdict = UpdateVerdict::Accepted;
const LATE: UpdateVerdict = UpdateVerdict::Discarded(UpdateFault::RoundOver);
const UNKNOWN: UpdateVerdict = UpdateVerdict::Rejected(UpdateFault::UnknownRound);
const TWICE: UpdateVerdict = UpdateVerdict::Rejected(UpdateFault::Duplicate);
const NOT_INVITED: UpdateVerdict = UpdateVerdict::Rejected(UpdateFault::NotInCohort);
const WRONG_STEP: UpdateVerdict = UpdateVerdict::Rejected(UpdateFault::WrongStep);
const R1: RoundId = round(1, 0);
const R2: RoundId = round(2, 0);
