//! Random histories, with time, and what holds after every step of them.

mod groups;
mod strategies;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use proptest::prelude::*;

use self::strategies::{Move, moves, plans};
use super::*;

/// Duty of a client that was invited and has neither reported nor been dismissed.
#[derive(Debug, Clone, Copy)]
struct Duty {
    round: RoundId,
    deadline: Time,
}

/// The machine, and a plain record of all it has said.
struct World {
    script: Script,
    plan: RoundPlan,
    /// Joined, and neither gone nor sent away; since when it is lost.
    known: BTreeMap<ClientId, Option<Time>>,
    invitations: BTreeMap<ClientId, Vec<RoundId>>,
    spent: BTreeSet<ClientId>,
    /// Clients that rest, with the round from which on they may be invited.
    resting: BTreeMap<ClientId, u64>,
    duties: BTreeMap<ClientId, Duty>,
    /// The same for those on trial, for whom no round waits.
    trials: BTreeMap<ClientId, Duty>,
    /// Clients that are left out, with the end of that.
    excluded: BTreeMap<ClientId, Time>,
    /// Records of clients that have gone.
    records: BTreeMap<ClientId, Record>,
    /// True if this step has dismissed a client that was waited for.
    has_cut_off: bool,
    /// Accepted answers: no client's counts twice.
    accepted: BTreeSet<(ClientId, RoundId, Stage)>,
    /// In the open sum: updates, or what the stage of secure aggregation has.
    in_sum: BTreeMap<(ClientId, RoundId), u64>,
    opened: BTreeSet<RoundId>,
    open: Option<RoundId>,
    opened_at: Time,
    invited_at: Option<Time>,
    stage: Stage,
    preparing: Option<Stage>,
    finalizing: Option<RoundId>,
    /// Jobs of the writer, as [`Effect::Finalize`] has given them.
    jobs: VecDeque<RoundId>,
    /// Rounds that the store has, and those that were announced.
    durable: u64,
    announced: u64,
    /// The deadline of each stage, which never moves.
    deadlines: HashMap<(RoundId, RoundPhase), Time>,
    standing: Standing,
    budget: Budget,
}

impl World {
    fn new(plan: RoundPlan, seed: u64) -> Self {
        let mut script = Script::new(plan.clone());
        script.rng = StdRng::seed_from_u64(seed);
        Self {
            script,
            stage: plan.first_stage(),
            plan,
            known: BTreeMap::new(),
            invitations: BTreeMap::new(),
            spent: BTreeSet::new(),
            resting: BTreeMap::new(),
            duties: BTreeMap::new(),
            trials: BTreeMap::new(),
            excluded: BTreeMap::new(),
            records: BTreeMap::new(),
            has_cut_off: false,
            accepted: BTreeSet::new(),
            in_sum: BTreeMap::new(),
            opened: BTreeSet::new(),
            open: None,
            opened_at: Time::default(),
            invited_at: None,
            preparing: None,
            finalizing: None,
            jobs: VecDeque::new(),
            durable: 0,
            announced: 0,
            deadlines: HashMap::new(),
            standing: Standing::Running,
            budget: Budget::Left,
        }
    }

    fn is_buffered(&self) -> bool {
        self.plan.mode != Mode::Synchronous
    }

    /// The event of a move, if it makes sense now.
    fn event(&mut self, step: Move) -> Option<Event> {
        let known = |id: u64| self.known.get(&ClientId(id)).copied();
        let connected = |id| (known(id) == Some(None)).then_some(ClientId(id));
        let reported = |id, round, weight| Event::Reported {
            client: ClientId(id),
            round,
            stage: self.stage,
            weight,
        };
        let invitations = |id: u64| self.invitations.get(&ClientId(id));
        Some(match step {
            Move::Join(id) => match known(id) {
                None => Event::Joined {
                    client: ClientId(id),
                    availability: Availability::Available,
                    eligibility: Eligibility::Free,
                    record: self.records.remove(&ClientId(id)).unwrap_or_default(),
                },
                Some(Some(_)) => Event::Returned(ClientId(id), Availability::Available),
                Some(None) => return None,
            },
            Move::Lose(id) => Event::Lost(connected(id)?),
            Move::Leave(id) => known(id).map(|_| Event::Left(ClientId(id)))?,
            Move::Pause(id) => Event::AvailabilityChanged(connected(id)?, Availability::Paused),
            Move::Resume(id) => Event::AvailabilityChanged(connected(id)?, Availability::Available),
            Move::Decline(id) => Event::Declined(connected(id)?, *invitations(id)?.last()?),
            Move::Refuse(id) => Event::Refused(ClientId(id), *invitations(id)?.last()?),
            Move::Report(id, weight) => {
                connected(id)?;
                reported(id, *invitations(id)?.last()?, weight)
            }
            Move::ReportOld(id) => reported(id, *invitations(id)?.iter().nth_back(1)?, 1),
            Move::ReportNonsense(id, round, attempt) => reported(id, RoundId { round, attempt }, 1),
            Move::Prepare => Event::Prepared(self.open?, self.preparing.take()?),
            Move::FailToPrepare => Event::NotPrepared(self.open?, self.preparing.take()?),
            Move::Store => self.store(),
            Move::FailToStore => Event::NotStored(self.jobs.pop_front()?),
            Move::Overflow => Event::NotFinite(self.jobs.pop_front()?),
            Move::Wait(_) => Event::TimePassed,
            Move::Operate(operation) => {
                self.standing = self.standing.after(operation);
                Event::Operated(operation)
            }
            Move::RollBack => {
                self.durable += 1;
                Event::Restored(self.durable)
            }
            Move::SpendParticipations(id) => {
                known(id)?;
                self.spent.insert(ClientId(id));
                self.resting.remove(&ClientId(id));
                Event::EligibilityChanged(ClientId(id), Eligibility::Spent)
            }
            Move::Rest(id, rounds) => {
                known(id)?;
                let until = self.announced + rounds;
                self.spent.remove(&ClientId(id));
                self.resting.insert(ClientId(id), until);
                Event::EligibilityChanged(ClientId(id), Eligibility::Rests(until))
            }
            Move::SpendBudget => {
                self.budget = Budget::Spent;
                Event::BudgetSpent
            }
        })
    }

    /// The store takes the next model, unless a roll-back has its place.
    fn store(&mut self) -> Event {
        match self.jobs.pop_front() {
            None => Event::TimePassed,
            Some(round) if round.round == self.durable + 1 => {
                self.durable += 1;
                Event::Stored(round)
            }
            Some(round) => Event::NotStored(round),
        }
    }

    /// Does one move, with the wake-ups that are due before it.
    fn play(&mut self, step: Move) -> Result<(), TestCaseError> {
        if let Move::Wait(ms) = step {
            let until = self.script.now + Duration::from_millis(ms);
            while let Some(wake) = self.script.rounds.wake_at().filter(|wake| *wake <= until) {
                self.script.now = wake;
                self.step(Event::TimePassed)?;
            }
            self.script.now = until;
        }
        match self.event(step) {
            Some(event) => self.step(event),
            None => Ok(()),
        }
    }

    fn step(&mut self, event: Event) -> Result<(), TestCaseError> {
        self.follow(event);
        let effects = self.script.step_with_notes(event);
        let answers = effects.iter().filter(|e| matches!(e, Effect::Answer { .. })).count();
        prop_assert_eq!(answers, usize::from(matches!(event, Event::Reported { .. })));
        self.has_cut_off = false;
        for effect in effects {
            self.check(event, effect)?;
        }
        if let Event::Restored(round) = event {
            prop_assert!(self.open.is_none_or(|open| open.round == round + 1));
            self.announced = round;
        }
        self.check_state()
    }

    /// Applies an event to the clients, independent of the machine's reaction.
    fn follow(&mut self, event: Event) {
        match event {
            Event::Joined { client, .. } => {
                self.known.insert(client, None);
                self.spent.remove(&client);
                self.resting.remove(&client);
            }
            Event::Returned(client, _) => {
                self.known.insert(client, None);
            }
            Event::Lost(client) => {
                self.known.insert(client, Some(self.script.now));
            }
            Event::Left(client) => {
                self.known.remove(&client);
                self.excuse(client);
            }
            Event::AvailabilityChanged(client, Availability::Paused) => {
                self.excuse(client);
            }
            Event::Declined(client, round) | Event::Refused(client, round) => {
                let duty = self.duties.get(&client).or(self.trials.get(&client));
                if duty.is_some_and(|duty| duty.round == round) {
                    self.excuse(client);
                }
                if matches!(event, Event::Refused(..)) {
                    self.in_sum.remove(&(client, round));
                }
            }
            _ => {}
        }
    }

    /// Nothing more is expected from the client.
    fn excuse(&mut self, client: ClientId) {
        self.duties.remove(&client);
        self.trials.remove(&client);
    }

    fn check(&mut self, event: Event, effect: Effect) -> Result<(), TestCaseError> {
        match effect {
            Effect::Open(round) => self.check_open(round),
            Effect::Invite(client, round, deadline) => {
                self.check_invite(client, round, deadline)?;
                // In buffered rounds those on trial are invited like the others.
                let on_trial = self.excluded.contains_key(&client) && self.is_buffered();
                let kept = if on_trial { &mut self.trials } else { &mut self.duties };
                let duty = kept.insert(client, Duty { round, deadline });
                prop_assert!(duty.is_none());
                prop_assert!(self.waited_for() <= self.plan.invited);
                Ok(())
            }
            Effect::InviteOnTrial(client, round, deadline) => {
                self.check_invite(client, round, deadline)?;
                prop_assert!(self.excluded.contains_key(&client), "on trial without a reason");
                let trial = self.trials.insert(client, Duty { round, deadline });
                prop_assert!(trial.is_none());
                let invited = |duty: &&Duty| duty.round == round;
                let invited = self.duties.values().chain(self.trials.values()).filter(invited);
                prop_assert!(invited.count() <= self.plan.invited);
                Ok(())
            }
            Effect::StandBy(client, _, until) => {
                prop_assert!(self.known.contains_key(&client) && until > self.script.now);
                prop_assert!(!self.duties.contains_key(&client));
                self.excluded.insert(client, until);
                Ok(())
            }
            Effect::Failed(client, _) => {
                prop_assert!(self.invitations.contains_key(&client), "it was not invited");
                Ok(())
            }
            Effect::Remember(client, record) => {
                prop_assert!(record.is_notable());
                // A client that leaves with its last failure is left out without a word.
                match record.trust() {
                    Trust::Full => drop(self.excluded.remove(&client)),
                    Trust::LeftOut(until) => drop(self.excluded.insert(client, until)),
                    Trust::OnTrial => prop_assert!(self.excluded.contains_key(&client)),
                }
                self.records.insert(client, record);
                Ok(())
            }
            Effect::SendAway(client, after) => {
                prop_assert_eq!(self.known.remove(&client), Some(None));
                prop_assert!(!self.duties.contains_key(&client));
                let window = self.plan.retry_after..=self.plan.retry_after * 2;
                prop_assert!(self.plan.waiting_room.is_some() && window.contains(&after));
                Ok(())
            }
            Effect::Advance(round, stage) => {
                prop_assert_eq!(self.open, Some(round));
                let protection = self.plan.protection;
                prop_assert!(!matches!(protection, Protection::None | Protection::DebitLast));
                prop_assert!(self.stage < stage || stage == Stage::Update);
                self.stage = stage;
                self.preparing = Some(stage);
                if stage != Stage::UnmaskingShares {
                    self.in_sum.clear();
                }
                Ok(())
            }
            Effect::Answer { .. } => self.check_answer(event, effect),
            Effect::Dismiss(client, _) => {
                prop_assert!(self.known.contains_key(&client));
                let before = self.waited_for();
                self.excuse(client);
                self.has_cut_off |= self.waited_for() < before;
                Ok(())
            }
            Effect::Finalize(round, counts) => self.check_finalize(round, counts),
            Effect::Complete(round) => {
                prop_assert_eq!(self.finalizing.take(), Some(round));
                prop_assert!(round.round <= self.durable, "announced before it was durable");
                prop_assert_eq!(round.round, self.announced + 1);
                self.announced += 1;
                Ok(())
            }
            Effect::Abandon(round, reason) => self.check_abandon(event, round, reason),
            Effect::Renumber { from, to } => {
                prop_assert_eq!(self.open, Some(from));
                prop_assert!(self.is_buffered() && self.finalizing.is_none());
                let again = RoundId { attempt: from.attempt + 1, ..from };
                prop_assert!(to.round + 1 == from.round || to == again);
                prop_assert!(self.opened.insert(to), "a name is used twice");
                self.open = Some(to);
                Ok(())
            }
        }
    }

    fn check_open(&mut self, round: RoundId) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.open, None);
        prop_assert_eq!((self.standing, self.budget), (Standing::Running, Budget::Left));
        prop_assert!(self.plan.rounds.is_none_or(|rounds| round.round <= rounds));
        prop_assert!(self.opened.insert(round), "a name is used twice");
        prop_assert!(self.is_buffered() || self.finalizing.is_none());
        self.open = Some(round);
        self.opened_at = self.script.now;
        (self.invited_at, self.preparing) = (None, None);
        self.stage = self.plan.first_stage();
        self.in_sum.clear();
        Ok(())
    }

    fn check_invite(
        &mut self,
        client: ClientId,
        round: RoundId,
        deadline: Time,
    ) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.open, Some(round));
        prop_assert_eq!(self.finalizing, None);
        prop_assert_eq!(deadline, self.script.now + self.plan.deadline);
        let is_late = self.plan.protection == Protection::DebitFirst;
        let lost = self.known.get(&client);
        prop_assert!(lost == Some(&None) || lost.is_some() && is_late, "{:?}", lost);
        prop_assert!(!self.spent.contains(&client) || is_late);
        let rests = self.resting.get(&client).is_some_and(|until| round.round < *until);
        prop_assert!(!rests || is_late || self.is_buffered(), "it rests");
        let invitations = self.invitations.entry(client).or_default();
        prop_assert!(invitations.last().is_none_or(|last| *last < round), "invited twice");
        invitations.push(round);
        self.invited_at = Some(self.script.now);
        let until = self.excluded.get(&client);
        prop_assert!(until.is_none_or(|until| *until <= self.script.now || is_late), "left out");
        if self.is_buffered() {
            prop_assert_eq!(self.standing, Standing::Running);
        }
        Ok(())
    }

    /// Clients at work, those in their grace too.
    fn waited_for(&self) -> usize {
        let is_waited_for = |client: &&ClientId| match self.known.get(client) {
            Some(Some(lost)) => self.script.now < *lost + self.plan.reconnect_grace,
            _ => true,
        };
        self.duties.keys().filter(is_waited_for).count()
    }

    fn check_answer(&mut self, event: Event, effect: Effect) -> Result<(), TestCaseError> {
        let Effect::Answer { client, round, verdict, staleness } = effect else {
            return Err(TestCaseError::fail("not an answer"));
        };
        let Event::Reported { client: of, round: wanted, stage, weight } = event else {
            return Err(TestCaseError::fail("an answer to no report"));
        };
        prop_assert_eq!((client, round), (of, wanted));
        if verdict != UpdateVerdict::Accepted {
            prop_assert_eq!(staleness, 0);
            if verdict == UpdateVerdict::Rejected(UpdateFault::WeightOutOfRange) {
                self.excuse(client);
            }
            if verdict == UpdateVerdict::Discarded(UpdateFault::RoundOver)
                && self.trials.get(&client).is_some_and(|duty| duty.round == round)
            {
                self.trials.remove(&client);
            }
            return Ok(());
        }
        prop_assert!(self.accepted.insert((client, round, stage)), "counted twice");
        let invitations = self.invitations.get(&client);
        prop_assert!(invitations.is_some_and(|rounds| rounds.contains(&round)));
        prop_assert_eq!(stage, self.stage);
        prop_assert!(self.preparing.is_none());
        let open = self.open.expect("accepted into an open round");
        prop_assert_eq!(u64::from(staleness), open.round - round.round);
        prop_assert!(staleness <= self.plan.mode.max_staleness());
        prop_assert!(self.is_buffered() || round == open);
        if self.is_buffered() {
            self.excluded.remove(&client);
        }
        if self.plan.protection == Protection::DebitLast {
            let once = self.in_sum.keys().all(|(counted, _)| *counted != client);
            prop_assert!(once, "counted twice in a round");
        }
        if stage == self.plan.first_stage() {
            let duty = self.duties.remove(&client).or(self.trials.remove(&client));
            prop_assert!(duty.is_some_and(|duty| duty.round == round));
        }
        if stage != Stage::UnmaskingShares {
            self.in_sum.insert((client, round), weight);
        }
        Ok(())
    }

    fn check_finalize(&mut self, round: RoundId, counts: RoundCounts) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.open.take(), Some(round));
        prop_assert_eq!(self.finalizing.replace(round), None);
        self.jobs.push_back(round);
        let is_paid = self.plan.mode == Mode::Synchronous;
        prop_assert!(self.budget == Budget::Left || is_paid, "a debit beyond the budget");
        prop_assert!(counts.reported >= self.plan.minimum_reports);
        prop_assert!(counts.reported <= counts.cohort);
        if self.plan.first_stage() == Stage::Update {
            prop_assert_eq!(counts.reported, self.in_sum.len());
            let weight: u64 = self.in_sum.values().sum();
            prop_assert!(self.is_buffered() && counts.weight == weight || counts.weight >= weight);
        }
        if let Some(minimum) = self.minimum_end() {
            prop_assert!(self.script.now >= minimum || !self.has_cut_off);
        }
        if self.plan.minimum_duration.is_zero() && !self.is_buffered() {
            prop_assert!(counts.reported <= self.plan.report_goal);
        }
        self.in_sum.clear();
        Ok(())
    }

    fn check_abandon(
        &mut self,
        event: Event,
        round: RoundId,
        reason: AbandonReason,
    ) -> Result<(), TestCaseError> {
        let was_open = self.open == Some(round);
        if was_open {
            self.open = None;
        } else {
            prop_assert_eq!(self.finalizing.take(), Some(round));
        }
        let fits = match reason {
            AbandonReason::TooFewReports => was_open && self.stage == self.plan.first_stage(),
            AbandonReason::TooFewSurvivors => was_open && self.stage > Stage::Keys,
            AbandonReason::NotPrepared => was_open && matches!(event, Event::NotPrepared(..)),
            AbandonReason::NotStored => !was_open && event == Event::NotStored(round),
            AbandonReason::NotFinite => !was_open && event == Event::NotFinite(round),
            AbandonReason::BudgetSpent => {
                was_open && self.is_buffered() && event == Event::BudgetSpent
            }
            AbandonReason::Stopped => was_open && event == Event::Operated(Operation::Stop),
            AbandonReason::RolledBack => matches!(event, Event::Restored(_)),
        };
        prop_assert!(fits, "{:?} {:?} {:?}", event, round, reason);
        Ok(())
    }

    /// Time from which the goal closes an unprotected synchronous round.
    fn minimum_end(&self) -> Option<Time> {
        let is_plain = !self.is_buffered() && self.plan.first_stage() == Stage::Update;
        self.invited_at.filter(|_| is_plain).map(|invited| invited + self.plan.minimum_duration)
    }

    /// Checks the invariants that hold whenever the machine rests.
    fn check_state(&mut self) -> Result<(), TestCaseError> {
        prop_assert!(self.script.rounds.pool.counts_are_right());
        let (now, rounds) = (self.script.now, &self.script.rounds);
        let (progress, wake) = (rounds.progress(), rounds.wake_at());
        prop_assert!(wake.is_none_or(|wake| wake > now), "{:?} {:?}", wake, now);
        prop_assert_eq!(rounds.standing(), self.standing);
        prop_assert!(progress.reported + progress.left <= progress.cohort);
        let connected = self.known.values().filter(|lost| lost.is_none()).count();
        prop_assert_eq!(progress.clients, connected);
        if let Some(deadline) = progress.deadline {
            // A stage ends by its deadline, which is known from its beginning.
            prop_assert!(deadline > now && wake.is_some_and(|wake| wake <= deadline));
            let first = *self.deadlines.entry((progress.round, progress.phase)).or_insert(deadline);
            prop_assert!(first == deadline || self.is_buffered());
            if let Some(minimum) = self.minimum_end()
                && progress.reported >= self.plan.report_goal
            {
                prop_assert!(wake.is_some_and(|wake| wake <= minimum), "the goal is reached");
            }
            let waits = progress.reported + progress.left < progress.cohort;
            prop_assert!(waits || self.is_buffered() || self.stage == Stage::UnmaskingShares);
        }
        let grace = |client| Some((*self.known.get(client)?)? + self.plan.reconnect_grace);
        if let Some(grace) = self.duties.keys().filter_map(grace).filter(|at| *at > now).min() {
            prop_assert!(wake.is_some_and(|wake| wake <= grace), "a grace ends unseen");
        }
        if self.open.is_none() && self.finalizing.is_none() {
            prop_assert!(self.duties.is_empty() || self.plan.first_stage() == Stage::Keys);
            let rests = match self.standing {
                _ if self.budget == Budget::Spent => rounds.is_finished(),
                Standing::Stopped => rounds.is_finished(),
                Standing::Paused => rounds.is_finished() || progress.phase == RoundPhase::Paused,
                Standing::Running => {
                    rounds.is_finished() || progress.phase == RoundPhase::Selecting
                }
            };
            prop_assert!(rests, "{:?}", progress);
        }
        if self.is_buffered() { self.check_buffer(progress) } else { Ok(()) }
    }

    fn check_buffer(&self, progress: Progress) -> Result<(), TestCaseError> {
        let now = self.script.now;
        prop_assert!(self.duties.values().all(|duty| duty.deadline > now));
        let at_work = self.duties.keys().chain(self.trials.keys());
        prop_assert!(at_work.clone().all(|client| !self.spent.contains(client)));
        let Some(open) = self.open else { return Ok(()) };
        prop_assert_eq!(progress.round, open);
        let oldest = open.round.saturating_sub(u64::from(self.plan.mode.max_staleness()));
        prop_assert!(self.duties.values().all(|duty| duty.round.round >= oldest));
        prop_assert_eq!(progress.reported, self.in_sum.len());
        if self.finalizing.is_none() {
            let is_due = now >= self.opened_at + self.plan.deadline;
            let is_complete = progress.reported >= self.plan.report_goal
                || is_due && progress.reported >= self.plan.minimum_reports;
            prop_assert!(!is_complete, "it should have closed");
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn random_histories_keep_the_promises(
        plan in plans(),
        moves in moves(),
        seed in any::<u64>(),
    ) {
        let mut world = World::new(plan, seed);
        for step in moves {
            world.play(step)?;
        }
    }

    #[test]
    fn a_pause_ends_every_round_in_bounded_time(
        plan in plans(),
        moves in moves(),
        seed in any::<u64>(),
    ) {
        let mut world = World::new(plan, seed);
        for step in moves {
            world.play(step)?;
        }
        // Whatever has happened, with a store and a writer that work.
        world.play(Move::Operate(Operation::Pause))?;
        for _ in 0..12 {
            world.play(Move::Prepare)?;
            world.play(Move::Store)?;
            world.play(Move::Wait(60_000))?;
        }
        prop_assert_eq!((world.open, world.finalizing), (None, None));
    }
}
