//! The clients of a task: who is connected, who may be invited, and who is left out.

use std::collections::{BTreeMap, BTreeSet};

use fedra_protocol::{Availability, RoundId, StandbyCause};
use rand::Rng;
use rand::seq::index;

use super::record::{Ending, Record, Trust, missed};
use super::{ClientId, Eligibility, Event, Time};

/// The clients of a task. Ordered, so that a replay selects the same ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Pool {
    clients: BTreeMap<ClientId, Member>,
    /// Ends of exclusions and of invitations of stragglers.
    timers: BTreeSet<(Time, ClientId)>,
    /// Rounds from which on subjects that rest may take part again.
    resting: BTreeSet<(u64, ClientId)>,
    /// Times at which a client became available that was not before.
    arrivals: u64,
    counts: Counts,
}

/// Numbers of clients, kept with every change: thousands of idle clients cost an event
/// nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Counts {
    connected: usize,
    left_out: usize,
    available: usize,
    on_trial: usize,
}

impl Counts {
    /// Counts of one client alone.
    fn of(member: &Member) -> Self {
        Self {
            connected: usize::from(!member.is_lost),
            left_out: usize::from(!member.is_lost && member.is_left_out()),
            available: usize::from(member.has(Trust::Full)),
            on_trial: usize::from(member.has(Trust::OnTrial)),
        }
    }

    fn add(&mut self, other: Self) {
        self.connected += other.connected;
        self.left_out += other.left_out;
        self.available += other.available;
        self.on_trial += other.on_trial;
    }

    fn remove(&mut self, other: Self) {
        self.connected -= other.connected;
        self.left_out -= other.left_out;
        self.available -= other.available;
        self.on_trial -= other.on_trial;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Member {
    availability: Availability,
    /// Its connection broke, and it has not come back yet.
    is_lost: bool,
    eligibility: Eligibility,
    record: Record,
    /// An invitation on trial whose round has ended: the answer is still awaited.
    straggles: Option<(RoundId, Time)>,
}

impl Member {
    /// True if the client by itself may be invited.
    fn is_available(&self) -> bool {
        self.availability == Availability::Available
            && !self.is_lost
            && self.eligibility == Eligibility::Free
            && self.straggles.is_none()
    }

    fn has(&self, trust: Trust) -> bool {
        self.is_available() && self.record.trust() == trust
    }

    fn is_left_out(&self) -> bool {
        matches!(self.record.trust(), Trust::LeftOut(_))
    }

    fn rests_until(&self) -> Option<u64> {
        match self.eligibility {
            Eligibility::Rests(until) => Some(until),
            Eligibility::Free | Eligibility::Spent => None,
        }
    }

    fn timer(&self) -> Option<Time> {
        let exclusion = match self.record.trust() {
            Trust::LeftOut(until) => Some(until),
            Trust::Full | Trust::OnTrial => None,
        };
        exclusion.or(self.straggles.map(|(_, deadline)| deadline))
    }
}

impl Pool {
    /// Follows an event. A client that leaves is forgotten by [`Pool::forget`].
    pub(super) fn apply(&mut self, event: Event, now: Time) {
        match event {
            Event::Joined { client, availability, eligibility, mut record } => {
                record.expire(now);
                let member =
                    Member { availability, is_lost: false, eligibility, record, straggles: None };
                self.forget(client);
                self.timers.extend(member.timer().map(|at| (at, client)));
                self.resting.extend(member.rests_until().map(|round| (round, client)));
                self.arrivals += u64::from(member.is_available() && !member.is_left_out());
                self.counts.add(Counts::of(&member));
                self.clients.insert(client, member);
            }
            Event::Lost(client) => self.change(client, |member| member.is_lost = true),
            Event::Returned(client, availability) => self.change(client, |member| {
                member.is_lost = false;
                member.availability = availability;
            }),
            Event::AvailabilityChanged(client, availability) => self.change(client, |member| {
                member.availability = availability;
                if availability == Availability::Paused {
                    member.straggles = None;
                }
            }),
            Event::EligibilityChanged(client, eligibility) => {
                self.change(client, |member| member.eligibility = eligibility);
            }
            _ => {}
        }
    }

    /// Removes a client from the task; what is to be remembered of it.
    pub(super) fn forget(&mut self, client: ClientId) -> Option<Record> {
        let member = self.clients.remove(&client)?;
        self.counts.remove(Counts::of(&member));
        if let Some(at) = member.timer() {
            self.timers.remove(&(at, client));
        }
        if let Some(round) = member.rests_until() {
            self.resting.remove(&(round, client));
        }
        member.record.is_notable().then_some(member.record)
    }

    /// Comes to `round`: subjects that have rested until then may take part again.
    pub(super) fn come_to(&mut self, round: u64) {
        while let Some((until, client)) = self.resting.first().copied()
            && until <= round
        {
            self.resting.pop_first();
            self.change(client, |member| member.eligibility = Eligibility::Free);
        }
    }

    /// Clients connected, paused ones too.
    pub(super) fn connected(&self) -> usize {
        self.counts.connected
    }

    /// Connected clients that are left out for now.
    pub(super) fn left_out(&self) -> usize {
        self.counts.left_out
    }

    /// Number of [`Pool::available`].
    pub(super) fn available_count(&self) -> usize {
        self.counts.available
    }

    /// Number of [`Pool::on_trial`].
    pub(super) fn on_trial_count(&self) -> usize {
        self.counts.on_trial
    }

    /// True if the client may be invited, as a full member or on trial.
    pub(super) fn has_available(&self, client: ClientId) -> bool {
        let may_be = |member: &Member| member.is_available() && !member.is_left_out();
        self.clients.get(&client).is_some_and(may_be)
    }

    /// Full members that may be invited, in the order of their ids.
    pub(super) fn available(&self) -> impl Iterator<Item = ClientId> {
        self.with(Trust::Full)
    }

    /// Clients on trial that may be invited, in the order of their ids.
    pub(super) fn on_trial(&self) -> impl Iterator<Item = ClientId> {
        self.with(Trust::OnTrial)
    }

    fn with(&self, trust: Trust) -> impl Iterator<Item = ClientId> {
        self.clients.iter().filter(move |(_, member)| member.has(trust)).map(|(client, _)| *client)
    }

    /// The counts as they are now, from every client, for the tests.
    #[cfg(test)]
    pub(super) fn counts_are_right(&self) -> bool {
        let mut counted = Counts::default();
        self.clients.values().for_each(|member| counted.add(Counts::of(member)));
        counted == self.counts
    }

    /// Number of times so far that a client became available.
    pub(super) fn arrivals(&self) -> u64 {
        self.arrivals
    }

    /// Notes how an invitation ended. The cause and the end of an exclusion that
    /// follows from it.
    pub(super) fn note(
        &mut self,
        client: ClientId,
        ending: Ending,
        now: Time,
    ) -> Option<(StandbyCause, Time)> {
        let mut until = None;
        self.change(client, |member| {
            member.straggles = None;
            until = member.record.note(ending, now);
        });
        match (ending, until) {
            (Ending::Failed(cause), Some(until)) => Some((cause, until)),
            _ => None,
        }
    }

    /// Goes on waiting for a client on trial whose round ends without it.
    pub(super) fn straggles(&mut self, client: ClientId, round: RoundId, deadline: Time) {
        self.change(client, |member| member.straggles = Some((round, deadline)));
    }

    /// True if the answer of a straggler to `round` is awaited.
    pub(super) fn awaits(&self, client: ClientId, round: RoundId) -> bool {
        let straggles = self.clients.get(&client).and_then(|member| member.straggles);
        straggles.is_some_and(|(of, _)| of == round)
    }

    /// True if an answer of the client to a round that has ended is awaited.
    pub(super) fn is_straggler(&self, client: ClientId) -> bool {
        self.clients.get(&client).is_some_and(|member| member.straggles.is_some())
    }

    /// The standing of a client that joins with a record: until when it is left out,
    /// and why.
    pub(super) fn exclusion(&self, client: ClientId) -> Option<(StandbyCause, Time)> {
        let record = self.clients.get(&client)?.record;
        match record.trust() {
            Trust::LeftOut(until) => Some((record.last_failure()?, until)),
            Trust::Full | Trust::OnTrial => None,
        }
    }

    /// Next time at which time alone changes something here.
    pub(super) fn wake_at(&self) -> Option<Time> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Ends what is over by `now`: exclusions, and invitations of stragglers, which
    /// are returned with how they failed.
    pub(super) fn expire(&mut self, now: Time) -> Vec<(ClientId, RoundId, StandbyCause)> {
        let mut failed = Vec::new();
        while let Some((at, client)) = self.timers.first().copied()
            && at <= now
        {
            self.change(client, |member| {
                member.record.expire(now);
                if let Some((round, _)) = member.straggles.take_if(|(_, deadline)| *deadline <= now)
                {
                    let lost = member.is_lost;
                    failed.push((client, round, missed(lost)));
                }
            });
        }
        failed
    }

    /// Changes a client, and keeps its timer, the arrivals and the counts right.
    fn change(&mut self, client: ClientId, change: impl FnOnce(&mut Member)) {
        let Some(member) = self.clients.get_mut(&client) else { return };
        let before = *member;
        change(member);
        let after = *member;
        self.counts.remove(Counts::of(&before));
        self.counts.add(Counts::of(&after));
        if before.timer() != after.timer() {
            before.timer().map(|at| self.timers.remove(&(at, client)));
            self.timers.extend(after.timer().map(|at| (at, client)));
        }
        if before.rests_until() != after.rests_until() {
            before.rests_until().map(|round| self.resting.remove(&(round, client)));
            self.resting.extend(after.rests_until().map(|round| (round, client)));
        }
        let was = (before.availability, before.is_lost, before.eligibility);
        let is = (after.availability, after.is_lost, after.eligibility);
        let arrived = was != is && after.is_available() && !after.is_left_out();
        self.arrivals += u64::from(arrived);
    }
}

/// A random choice of `amount` clients, or of all if there are fewer.
pub(super) fn sample(from: &[ClientId], amount: usize, rng: &mut dyn Rng) -> Vec<ClientId> {
    let amount = amount.min(from.len());
    index::sample(rng, from.len(), amount).into_iter().map(|i| from[i]).collect()
}
