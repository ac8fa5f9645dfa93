//! Random histories of buffered rounds under secure aggregation, and what holds after every
//! step of them.

use super::*;

/// A group at work, by the invitations of its clients.
struct Group {
    round: RoundId,
    stage: Stage,
    /// Its stage's requests are on their way.
    prepared: bool,
    clients: BTreeMap<ClientId, RoundId>,
}

/// The machine, and a plain record of all it has said.
struct World {
    script: Script,
    plan: RoundPlan,
    /// Joined, and neither gone nor sent away; whether it is connected.
    known: BTreeMap<ClientId, bool>,
    invitations: BTreeMap<ClientId, Vec<RoundId>>,
    /// Clients that are at work, and those that have reported and wait.
    working: BTreeMap<ClientId, RoundId>,
    waiting: BTreeMap<ClientId, RoundId>,
    group: Option<Group>,
    /// Invitations that a group has had.
    grouped: BTreeSet<(ClientId, RoundId)>,
    opened: BTreeSet<RoundId>,
    open: Option<RoundId>,
    storing: Option<RoundId>,
    durable: u64,
    announced: u64,
    standing: Standing,
}

impl World {
    fn new(plan: RoundPlan, seed: u64) -> Self {
        let mut script = Script::new(plan.clone());
        script.rng = StdRng::seed_from_u64(seed);
        Self {
            script,
            plan,
            known: BTreeMap::new(),
            invitations: BTreeMap::new(),
            working: BTreeMap::new(),
            waiting: BTreeMap::new(),
            group: None,
            grouped: BTreeSet::new(),
            opened: BTreeSet::new(),
            open: None,
            storing: None,
            durable: 0,
            announced: 0,
            standing: Standing::Running,
        }
    }

    /// The event of a move, if it makes sense now.
    fn event(&mut self, step: Move) -> Option<Event> {
        let connected = |id| self.known.get(&ClientId(id)).is_some_and(|here| *here);
        let here = |id| connected(id).then_some(ClientId(id));
        let last = |id: u64| self.invitations.get(&ClientId(id))?.last().copied();
        let stage_of = |id| match &self.group {
            Some(group) if group.clients.contains_key(&ClientId(id)) => group.stage,
            _ => Stage::Keys,
        };
        let reported = |id, round| Event::Reported {
            client: ClientId(id),
            round,
            stage: stage_of(id),
            weight: 1,
        };
        Some(match step {
            Move::Join(id) => match self.known.get(&ClientId(id)) {
                None => joined(id),
                Some(false) => Event::Returned(ClientId(id), Availability::Available),
                Some(true) => return None,
            },
            Move::Lose(id) => Event::Lost(here(id)?),
            Move::Leave(id) => Event::Left(self.known.get(&ClientId(id)).map(|_| ClientId(id))?),
            Move::Pause(id) => Event::AvailabilityChanged(here(id)?, Availability::Paused),
            Move::Resume(id) => Event::AvailabilityChanged(here(id)?, Availability::Available),
            Move::Decline(id) => Event::Declined(here(id)?, last(id)?),
            Move::Refuse(id) => Event::Refused(ClientId(id), last(id)?),
            Move::Report(id, _) => {
                here(id)?;
                reported(id, last(id)?)
            }
            Move::ReportOld(id) => {
                reported(id, *self.invitations.get(&ClientId(id))?.iter().nth_back(1)?)
            }
            Move::ReportNonsense(id, round, attempt) => reported(id, RoundId { round, attempt }),
            Move::Prepare | Move::FailToPrepare => {
                let group = self.group.as_mut().filter(|group| !group.prepared)?;
                group.prepared = matches!(step, Move::Prepare);
                let event = if group.prepared { Event::Prepared } else { Event::NotPrepared };
                event(group.round, group.stage)
            }
            Move::Store => match self.storing {
                Some(round) if round.round == self.durable + 1 => {
                    self.durable += 1;
                    Event::Stored(round)
                }
                storing => Event::NotStored(storing?),
            },
            Move::FailToStore | Move::Overflow => Event::NotStored(self.storing?),
            Move::Operate(operation) => {
                self.standing = self.standing.after(operation);
                Event::Operated(operation)
            }
            Move::RollBack => {
                self.durable += 1;
                Event::Restored(self.durable)
            }
            Move::SpendParticipations(id) => {
                self.known.get(&ClientId(id))?;
                Event::EligibilityChanged(ClientId(id), Eligibility::Spent)
            }
            Move::SpendBudget => Event::BudgetSpent,
            // No noise of masked updates goes on from round to round.
            Move::Rest(..) | Move::Wait(_) => Event::TimePassed,
        })
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
        let effects = self.script.step(event);
        let answers = effects.iter().filter(|e| matches!(e, Effect::Answer { .. })).count();
        prop_assert_eq!(answers, usize::from(matches!(event, Event::Reported { .. })));
        for effect in effects {
            self.check(event, effect)?;
        }
        if let Event::Restored(round) = event {
            self.announced = round;
        }
        self.check_state()
    }

    fn follow(&mut self, event: Event) {
        match event {
            Event::Joined { client, .. } | Event::Returned(client, _) => {
                self.known.insert(client, true);
            }
            Event::Lost(client) => {
                self.known.insert(client, false);
            }
            Event::Left(client) => {
                self.known.remove(&client);
                self.excuse(client);
            }
            Event::AvailabilityChanged(client, Availability::Paused) => self.excuse(client),
            Event::Declined(client, round) | Event::Refused(client, round) => {
                let own = self.working.get(&client).or(self.waiting.get(&client));
                if own == Some(&round) {
                    self.excuse(client);
                }
            }
            _ => {}
        }
    }

    fn excuse(&mut self, client: ClientId) {
        self.working.remove(&client);
        self.waiting.remove(&client);
    }

    fn check(&mut self, event: Event, effect: Effect) -> Result<(), TestCaseError> {
        match effect {
            Effect::Open(round) => {
                prop_assert_eq!(self.open, None);
                prop_assert!(self.opened.insert(round), "a name is used twice");
                self.open = Some(round);
            }
            Effect::Invite(client, round, _) => self.check_invite(client, round)?,
            Effect::Answer { client, round, verdict: UpdateVerdict::Accepted, .. } => {
                let Event::Reported { stage, .. } = event else {
                    return Err(TestCaseError::fail("an answer to no report"));
                };
                if stage == Stage::Keys {
                    prop_assert_eq!(self.working.remove(&client), Some(round));
                    self.waiting.insert(client, round);
                } else {
                    let group = self.group.as_ref().expect("an answer of a group");
                    prop_assert!(group.prepared && group.stage == stage);
                    prop_assert_eq!(group.clients.get(&client), Some(&round));
                }
            }
            Effect::Advance(round, Stage::Shares) => self.check_group(round)?,
            Effect::Advance(round, stage) => {
                let group = self.group.as_mut().expect("a group is at work");
                prop_assert!(group.round == round && group.stage < stage && group.prepared);
                (group.stage, group.prepared) = (stage, false);
            }
            Effect::Dismiss(client, round) => {
                prop_assert!(self.known.contains_key(&client));
                let in_group = self.group.as_ref().and_then(|group| group.clients.get(&client));
                let own = self.working.get(&client).or(self.waiting.get(&client));
                prop_assert_eq!(own.or(in_group), Some(&round));
                self.excuse(client);
            }
            Effect::Finalize(round, counts) => {
                let group = self.group.take().expect("a group has done its part");
                prop_assert_eq!((group.round, group.stage), (round, Stage::UnmaskingShares));
                prop_assert!(counts.reported >= self.plan.minimum_reports);
                prop_assert!(counts.reported <= group.clients.len());
                prop_assert!(group.clients.len() <= counts.cohort);
                prop_assert_eq!(self.storing.replace(round), None);
            }
            Effect::Complete(round) => {
                prop_assert_eq!(self.storing.take(), Some(round));
                prop_assert_eq!(round.round, self.announced + 1);
                prop_assert!(round.round <= self.durable, "announced before it was durable");
                self.announced += 1;
            }
            Effect::Abandon(round, _) => {
                if self.open == Some(round) {
                    self.open = None;
                } else if self.group.as_ref().is_some_and(|group| group.round == round) {
                    self.group = None;
                } else {
                    prop_assert_eq!(self.storing.take(), Some(round));
                }
            }
            Effect::Renumber { from, to } => {
                prop_assert_eq!(self.open, Some(from));
                prop_assert!(self.group.is_none() && self.storing.is_none());
                prop_assert!(self.opened.insert(to), "a name is used twice");
                self.open = Some(to);
            }
            Effect::SendAway(client, _) => {
                prop_assert!(self.known.remove(&client).is_some());
                prop_assert!(!self.working.contains_key(&client));
                prop_assert!(!self.waiting.contains_key(&client));
            }
            _ => {}
        }
        Ok(())
    }

    fn check_invite(&mut self, client: ClientId, round: RoundId) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.known.get(&client), Some(&true));
        prop_assert_eq!((self.standing, self.storing), (Standing::Running, None));
        let group = self.group.as_ref();
        prop_assert!(group.is_none_or(|group| !group.clients.contains_key(&client)), "in a group");
        prop_assert!(!self.waiting.contains_key(&client), "it waits");
        // The newest model is the one before the group's.
        prop_assert_eq!(Some(round), group.map(|group| group.round).or(self.open));
        let staleness = self.open.map_or(0, |open| open.round - round.round);
        prop_assert!(staleness <= u64::from(self.plan.mode.max_staleness()));
        let invitations = self.invitations.entry(client).or_default();
        prop_assert!(invitations.last().is_none_or(|last| *last < round), "invited twice");
        invitations.push(round);
        prop_assert_eq!(self.working.insert(client, round), None);
        Ok(())
    }

    fn check_group(&mut self, round: RoundId) -> Result<(), TestCaseError> {
        prop_assert!(self.group.is_none() && self.storing.is_none());
        prop_assert_eq!(self.open.take(), Some(round));
        let asked = self.script.rounds.asked();
        prop_assert!((self.plan.minimum_reports..=self.plan.report_goal).contains(&asked.len()));
        let mut clients = BTreeMap::new();
        for client in asked {
            let invitation = self.waiting.remove(&client).expect("it has trained and waits");
            prop_assert_eq!(self.script.rounds.invitation(client, round), invitation);
            prop_assert!(self.known.get(&client).is_some_and(|here| *here), "it is not there");
            prop_assert!(self.grouped.insert((client, invitation)), "twice in a group");
            let staleness = round.round - invitation.round;
            prop_assert!(staleness <= u64::from(self.plan.mode.max_staleness()));
            clients.insert(client, invitation);
        }
        self.group = Some(Group { round, stage: Stage::Shares, prepared: false, clients });
        Ok(())
    }

    fn check_state(&self) -> Result<(), TestCaseError> {
        let (now, rounds) = (self.script.now, &self.script.rounds);
        let (progress, wake) = (rounds.progress(), rounds.wake_at());
        prop_assert!(rounds.pool.counts_are_right());
        prop_assert!(wake.is_none_or(|wake| wake > now), "{:?} {:?}", wake, now);
        prop_assert!(progress.reported + progress.left <= progress.cohort);
        prop_assert_eq!(progress.clients, self.known.values().filter(|here| **here).count());
        if let Some(group) = &self.group {
            prop_assert_eq!(progress.round, group.round);
        } else if let Some(open) = self.open {
            prop_assert_eq!((progress.round, progress.reported), (open, self.waiting.len()));
            let ready = |client: &&ClientId| self.known.get(client).is_some_and(|here| *here);
            let ready = self.waiting.keys().filter(ready).count();
            prop_assert!(ready < self.plan.report_goal || self.storing.is_some());
        }
        if self.open.is_none() {
            prop_assert!(self.working.is_empty() && self.waiting.is_empty());
        }
        Ok(())
    }
}

/// Plans of groups of two or three clients.
fn plans() -> impl Strategy<Value = RoundPlan> {
    let grace = prop_oneof![Just(Duration::ZERO), Just(GRACE)];
    let room = prop_oneof![Just(None), (0_usize..3).prop_map(Some)];
    let rounds = prop_oneof![Just(None), (1_u64..6).prop_map(Some)];
    (0_u32..3, 3_usize..7, grace, room, rounds).prop_map(
        |(max_staleness, invited, reconnect_grace, waiting_room, rounds)| RoundPlan {
            mode: Mode::Buffered { max_staleness, staleness_exponent: 0.5 },
            protection: Protection::Secure { step_deadline: STEP },
            invited,
            reconnect_grace,
            waiting_room,
            rounds,
            ..PLAN
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn random_groups_keep_the_promises(
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
        prop_assert_eq!((world.open, world.storing), (None, None));
        prop_assert!(world.group.is_none());
    }
}
