//! Under a privacy policy: what a client refuses, whom it asks, what it counts,
//! and that nothing leaves before it is counted.

use fedra_privacy_policy::DerivedPolicy;
use fedra_protocol::CentralNoise;

use super::*;
use crate::privacy::{PolicyName, PrivacyTerms};

pub(super) fn policy(mechanism: Mechanism) -> PrivacyPolicy {
    PrivacyPolicy {
        mechanism,
        noise_multiplier: 1.0,
        clipping_norm: 0.5,
        target_quantile: None,
        epsilon: 50.0,
        delta: 1e-5,
        cohort: 10,
        minimum_survivors: 8,
        colluders: 1,
        max_participations: 2,
    }
}

const CENTRAL: Mechanism = Mechanism::Central(CentralNoise::Independent);

pub(super) fn private_assignment(round: RoundId) -> ServerMessage {
    let ServerMessage::RoundAssignment(plain) = assignment(round) else { unreachable!() };
    let privacy = Some(RoundPrivacy { clipping_norm: 0.25, rotation: [3; 32] });
    ServerMessage::RoundAssignment(RoundAssignment { privacy, ..plain })
}

impl Rig {
    /// Checked in to a task with a policy.
    pub(super) fn in_private(config: PrivacyConfig, mechanism: Mechanism) -> (Self, Vec<Action>) {
        let mut rig = Self::with(config, Some(policy(mechanism)));
        rig.start();
        let actions = rig.greet();
        (rig, actions)
    }

    /// Has trained and waits until its participation is written down.
    pub(super) fn recording(mechanism: Mechanism) -> Self {
        let (mut rig, _) = Self::in_private(config(), mechanism);
        rig.feed(Event::Received(private_assignment(ROUND)));
        let actions = rig.train(ROUND);
        assert_eq!(actions, [Action::Record { round: ROUND, participations: 1 }]);
        rig
    }

    pub(super) fn train(&mut self, round: RoundId) -> Vec<Action> {
        self.feed(Event::Downloaded { round });
        let update = Bytes::from_static(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        self.feed(Event::Trained { round, update, examples: 60 })
    }
}

pub(super) fn terms(actions: &[Action]) -> Option<&PrivacyTerms> {
    actions.iter().rev().find_map(|action| match action {
        Action::Emit(ClientEvent::Privacy(terms)) => Some(&**terms),
        _ => None,
    })
}

/// The problems that the owner was told of: their codes, words, and whether fatal.
pub(super) fn problems(actions: &[Action]) -> Vec<(&str, &str, bool)> {
    let problem = |action| match action {
        &Action::Emit(ClientEvent::Error { ref code, ref message, fatal }) => {
            Some((code.as_str(), message.as_str(), fatal))
        }
        _ => None,
    };
    actions.iter().filter_map(problem).collect()
}

#[test]
fn a_task_below_any_floor_is_refused_for_good() {
    let free = PrivacyFloors::default();
    let below = [
        (PrivacyFloors { min_noise_multiplier: Some(1.1), ..free.clone() }, "noise multiplier"),
        (PrivacyFloors { min_cohort: Some(8), ..free.clone() }, "at least 8"),
        (PrivacyFloors { max_epsilon: Some(0.1), ..free.clone() }, "epsilon"),
        (PrivacyFloors { require_secure_aggregation: true, ..free.clone() }, "secure aggregation"),
    ];
    for (floors, word) in below {
        let (mut rig, actions) = Rig::in_private(PrivacyConfig { floors, ..config() }, CENTRAL);
        let [(code, message, fatal)] = problems(&actions)[..] else { panic!("{actions:?}") };
        assert_eq!((code, fatal), ("privacy-refused", true));
        assert!(message.contains(word), "{message}");
        assert!(actions.contains(&Action::Disconnect { code: 1000 }));
        assert!(terms(&actions).is_none(), "nobody is asked to agree to it");
        assert!(rig.session.is_closed() && rig.sent().is_empty());
    }
}

#[test]
fn a_plain_task_is_refused_by_whoever_insists_on_protection() {
    let floors = PrivacyFloors { max_epsilon: Some(100.0), ..PrivacyFloors::default() };
    let mut rig = Rig::with(PrivacyConfig { floors, ..config() }, None);
    rig.start();
    let actions = rig.greet();
    assert_eq!(problems(&actions)[0].0, "privacy-refused");
    assert!(rig.session.is_closed());
}

#[test]
fn a_policy_that_does_not_add_up_is_refused() {
    let policy = PrivacyPolicy { epsilon: 0.01, ..policy(Mechanism::Distributed) };
    let mut rig = Rig::with(config(), Some(policy));
    rig.start();
    let actions = rig.greet();
    assert_eq!(problems(&actions)[0].0, "privacy-refused");
    assert!(rig.session.is_closed());
}

#[test]
fn a_policy_that_changes_under_way_is_refused() {
    let (mut rig, _) = Rig::in_private(config(), Mechanism::Distributed);
    assert!(problems(&rig.reconnect()).iter().all(|(_, _, fatal)| !fatal));
    rig.task.privacy = Some(PrivacyPolicy { colluders: 0, ..policy(Mechanism::Distributed) });
    let actions = rig.reconnect();
    let (code, message, fatal) = *problems(&actions).last().unwrap();
    assert_eq!((code, fatal), ("privacy-refused", true));
    assert!(message.contains("has changed"), "{message}");
}

#[test]
fn the_owner_hears_the_terms_at_check_in() {
    let policy = policy(Mechanism::Distributed);
    let privacy = DerivedPolicy::new(policy.clone(), task(None).model.parameters()).unwrap();
    let config = PrivacyConfig { participations: 1, ..config() };
    let (_, actions) = Rig::in_private(config, Mechanism::Distributed);
    let expected = PrivacyTerms {
        policy: PolicyName::Distributed,
        secure_aggregation: true,
        noise_multiplier: Some(policy.noise_multiplier),
        clipping_norm: Some(policy.clipping_norm),
        minimum_survivors: Some(policy.minimum_survivors),
        colluders: Some(policy.colluders),
        delta: Some(policy.delta),
        budget_epsilon: Some(policy.epsilon),
        round_epsilon: Some(privacy.epsilon_after(1)),
        spent_epsilon: privacy.epsilon_after(1),
        next_epsilon: Some(privacy.epsilon_after(2)),
        participations: 1,
        max_participations: Some(2),
        task_spent_epsilon: None,
        example_privacy: None,
    };
    assert_eq!(terms(&actions), Some(&expected));
    assert!(expected.next_epsilon > expected.round_epsilon);
}

#[test]
fn a_plain_task_has_terms_too() {
    let mut rig = Rig::new();
    rig.start();
    let actions = rig.greet();
    let terms = terms(&actions).unwrap();
    assert_eq!(terms.policy, PolicyName::None);
    assert_eq!((terms.budget_epsilon, terms.max_participations), (None, None));
    assert_eq!(terms.spent_epsilon, 0.0);
}

#[test]
fn terms_are_told_again_when_they_change_and_not_otherwise() {
    let (mut rig, _) = Rig::in_private(config(), CENTRAL);
    let mut status = status(1, RoundPhase::Collecting);
    let same = rig.feed(Event::Received(ServerMessage::TaskStatus(Box::new(status.clone()))));
    assert!(terms(&same).is_none());
    status.privacy_spent_epsilon = Some(1.5);
    let spent = rig.feed(Event::Received(ServerMessage::TaskStatus(Box::new(status))));
    assert_eq!(terms(&spent).unwrap().task_spent_epsilon, Some(1.5));
    let clipped = rig.feed(Event::Received(private_assignment(ROUND)));
    assert_eq!(terms(&clipped).unwrap().clipping_norm, Some(0.25));
}

#[test]
fn nobody_takes_part_before_agreeing() {
    let ask = PrivacyConfig { consent: Consent::Ask, ..config() };
    let (mut rig, actions) = Rig::in_private(ask, Mechanism::Local);
    assert_eq!(state(&actions), Some(SessionState::Consent));
    assert!(terms(&actions).is_some(), "what to agree to");
    assert_eq!(rig.checked_in_as, Availability::Paused);
    assert!(rig.sent().is_empty());
    // Crossed with it on the wire.
    let actions = rig.feed(Event::Received(private_assignment(ROUND)));
    assert!(actions.is_empty(), "{actions:?}");
    assert!(matches!(rig.sent()[..], [ClientMessage::Decline { .. }]));
    assert_eq!(state(&rig.reconnect()), Some(SessionState::Consent));
    assert_eq!(rig.checked_in_as, Availability::Paused);
    assert!(rig.sent().is_empty());

    assert_eq!(state(&rig.feed(Event::Consent)), Some(SessionState::Waiting));
    assert_eq!(rig.sent(), [ClientMessage::SetAvailability(Availability::Available)]);
    assert!(rig.feed(Event::Consent).is_empty(), "once is enough");
    assert_eq!(state(&rig.reconnect()), Some(SessionState::Waiting));
    assert!(rig.sent().is_empty());
}

#[test]
fn agreeing_does_not_end_a_pause() {
    let ask = PrivacyConfig { consent: Consent::Ask, ..config() };
    let (mut rig, _) = Rig::in_private(ask, Mechanism::Local);
    rig.feed(Event::Pause);
    rig.sent();
    assert_eq!(state(&rig.feed(Event::Consent)), Some(SessionState::Paused));
    assert!(rig.sent().is_empty());
    rig.feed(Event::Resume);
    assert_eq!(rig.sent(), [ClientMessage::SetAvailability(Availability::Available)]);
}

#[test]
fn a_plain_task_asks_nobody() {
    let mut rig = Rig::with(PrivacyConfig { consent: Consent::Ask, ..config() }, None);
    rig.start();
    assert_eq!(state(&rig.greet()), Some(SessionState::Waiting));
    assert!(rig.sent().is_empty());
}

#[test]
fn a_round_has_privacy_exactly_if_the_task_has() {
    let (mut private, _) = Rig::in_private(config(), Mechanism::Distributed);
    let actions = private.feed(Event::Received(assignment(ROUND)));
    assert!(actions.contains(&Action::Disconnect { code: 1002 }), "{actions:?}");
    let actions = Rig::member().feed(Event::Received(private_assignment(ROUND)));
    assert!(actions.contains(&Action::Disconnect { code: 1002 }), "{actions:?}");
}

#[test]
fn a_participation_is_written_down_before_the_update_is_announced() {
    for mechanism in [Mechanism::Local, CENTRAL] {
        let mut rig = Rig::recording(mechanism);
        assert!(rig.sent().is_empty());
        let actions = rig.feed(Event::Recorded { round: ROUND });
        let terms = terms(&actions).expect("the owner hears of it");
        assert_eq!(terms.participations, 1);
        assert_eq!(Some(terms.spent_epsilon), terms.round_epsilon);
        let [ClientMessage::UpdateBegin(begin)] = &rig.sent()[..] else { panic!("one message") };
        assert_eq!(begin.examples, 1, "weights are uniform");
        assert_eq!(begin.bytes, 9);
    }
}

#[test]
fn what_cannot_be_written_down_is_not_sent() {
    let mut rig = Rig::recording(Mechanism::Local);
    let failed = Event::Failed {
        round: ROUND,
        failure: Failure::ParticipationNotKept,
        reason: "the disk is full".into(),
    };
    let actions = rig.feed(failed);
    assert_eq!(problems(&actions)[0].0, "participation-not-kept");
    assert!(matches!(rig.sent()[..], [ClientMessage::Decline { .. }, _]));
    assert!(rig.feed(Event::Recorded { round: ROUND }).is_empty(), "too late");
    assert!(rig.sent().is_empty());
}

#[test]
fn a_round_that_is_over_before_its_participation_is_written_down_sends_and_costs_nothing() {
    for mechanism in [Mechanism::Local, CENTRAL] {
        let mut rig = Rig::recording(mechanism);
        let next = status(2, RoundPhase::Selecting);
        let actions = rig.feed(Event::Received(ServerMessage::TaskStatus(Box::new(next))));
        assert!(actions.contains(&Action::Abort), "{actions:?}");
        assert!(rig.feed(Event::Recorded { round: ROUND }).is_empty(), "too late");
        assert!(rig.sent().is_empty());
        // The same number is written down for the next one.
        let round = RoundId { round: 2, attempt: 0 };
        rig.feed(Event::Received(private_assignment(round)));
        assert_eq!(rig.train(round), [Action::Record { round, participations: 1 }]);
    }
}

#[test]
fn a_server_does_not_hear_why_a_private_round_is_left() {
    let (mut rig, _) = Rig::in_private(config(), Mechanism::Distributed);
    rig.feed(Event::Received(private_assignment(ROUND)));
    let reason = "example 17 is not finite".to_string();
    let actions =
        rig.feed(Event::Failed { round: ROUND, failure: Failure::TrainingFailed, reason });
    assert!(problems(&actions)[0].1.contains("example 17"), "the owner does");
    let [ClientMessage::Decline { reason, .. }] = &rig.sent()[..] else { panic!("one message") };
    assert!(!reason.contains("17"), "{reason}");
}

#[test]
fn an_upload_that_starts_over_sends_the_same_bytes() {
    let mut rig = Rig::recording(Mechanism::Local);
    rig.feed(Event::Recorded { round: ROUND });
    rig.sent();
    let mut all = Vec::new();
    for offset in [0, 4, 0] {
        rig.feed(Event::Received(ServerMessage::UploadReady { round: ROUND, offset }));
        let bytes: Vec<u8> = rig
            .sent()
            .into_iter()
            .flat_map(|message| match message {
                ClientMessage::UpdateChunk(chunk) => chunk.data.to_vec(),
                other => panic!("{other:?}"),
            })
            .collect();
        all.push((offset, bytes));
    }
    let update = [1, 2, 3, 4, 5, 6, 7, 8, 9];
    for (offset, bytes) in all {
        assert_eq!(bytes, update[offset as usize..]);
    }
}

#[test]
fn a_round_that_is_given_out_again_gets_the_same_update_again() {
    for mechanism in [Mechanism::Local, CENTRAL] {
        let mut rig = Rig::recording(mechanism);
        rig.feed(Event::Recorded { round: ROUND });
        let first = rig.sent();
        assert!(matches!(first[..], [ClientMessage::UpdateBegin(_)]));
        // On this connection it was announced already.
        assert_eq!(rig.feed(Event::Received(private_assignment(ROUND))), []);
        assert!(rig.sent().is_empty());
        let actions = rig.reconnect();
        assert_eq!(state(&actions), Some(SessionState::Uploading));
        assert_eq!(rig.sent(), first, "the same length and checksum");
        assert_eq!(rig.feed(Event::Received(private_assignment(ROUND))), []);
        assert!(rig.sent().is_empty(), "neither counted nor encoded once more");
    }
}

#[test]
fn another_update_for_a_round_that_one_was_made_for_never_leaves() {
    let ServerMessage::RoundAssignment(plain) = private_assignment(ROUND) else { unreachable!() };
    let privacy = Some(RoundPrivacy { clipping_norm: 0.25, rotation: [4; 32] });
    let other = ServerMessage::RoundAssignment(RoundAssignment { privacy, ..plain });
    // While its update is on the way, and when it is in no round any more.
    for over in [false, true] {
        let mut rig = Rig::recording(Mechanism::Local);
        rig.feed(Event::Recorded { round: ROUND });
        if over {
            rig.feed(outcome(ROUND, UpdateVerdict::Rejected(UpdateFault::ChecksumMismatch)));
        }
        rig.sent();
        let actions = rig.feed(Event::Received(other.clone()));
        assert_eq!(actions.contains(&Action::Abort), !over, "{actions:?}");
        assert!(!actions.iter().any(|action| matches!(action, Action::Work(_))));
        assert!(matches!(rig.sent()[..], [ClientMessage::Decline { round: ROUND, .. }, ..]));
        rig.feed(Event::Received(ServerMessage::UploadReady { round: ROUND, offset: 0 }));
        assert!(rig.sent().is_empty());
        // A rejection is followed by a wait.
        rig.now += seconds(1);
        rig.feed(Event::Timer);
        let next = RoundId { round: 1, attempt: 1 };
        let actions = rig.feed(Event::Received(private_assignment(next)));
        let works = actions.iter().any(|action| matches!(action, Action::Work(_)));
        assert!(works, "another attempt is another update");
    }
}

#[test]
fn a_client_stops_by_itself_after_its_last_participation() {
    let mut rig = Rig::recording(CENTRAL);
    for round in 1..=2 {
        let id = RoundId { round, attempt: 0 };
        if round == 2 {
            rig.feed(Event::Received(private_assignment(id)));
            rig.train(id);
        }
        let actions = rig.feed(Event::Recorded { round: id });
        let next = terms(&actions).unwrap().next_epsilon;
        assert_eq!(next.is_none(), round == 2, "there is no round after the last");
        assert!(problems(&rig.feed(outcome(id, UpdateVerdict::Accepted))).is_empty());
        rig.sent();
        let over = status(round + 1, RoundPhase::Selecting);
        let actions = rig.feed(Event::Received(ServerMessage::TaskStatus(Box::new(over))));
        assert_eq!(state(&actions), Some(SessionState::Waiting));
        if round == 1 {
            assert!(problems(&actions).is_empty() && rig.sent().is_empty());
        } else {
            assert_eq!(problems(&actions)[0].0, "privacy-exhausted");
            assert!(!problems(&actions)[0].2, "not fatal");
            assert_eq!(rig.sent(), [ClientMessage::SetAvailability(Availability::Paused)]);
        }
    }
    let third = RoundId { round: 3, attempt: 0 };
    assert!(rig.feed(Event::Received(private_assignment(third))).is_empty());
    assert!(matches!(rig.sent()[..], [ClientMessage::Decline { .. }]));
    rig.feed(Event::Pause);
    rig.feed(Event::Resume);
    assert!(rig.sent().is_empty(), "resuming does not make it available");
}

#[test]
fn participations_of_earlier_visits_count_and_the_owners_limit_does() {
    let of = |max_participations, participations| PrivacyConfig {
        floors: PrivacyFloors { max_participations, ..PrivacyFloors::default() },
        participations,
        ..config()
    };
    for (config, exhausted) in
        [(of(None, 1), false), (of(None, 2), true), (of(Some(1), 1), true), (of(Some(9), 2), true)]
    {
        let (mut rig, actions) = Rig::in_private(config.clone(), CENTRAL);
        let told = problems(&actions).iter().any(|(code, ..)| *code == "privacy-exhausted");
        assert_eq!(told, exhausted, "{config:?}");
        assert!(rig.sent().is_empty(), "it observes");
        let again = rig.reconnect();
        let available = rig.checked_in_as == Availability::Available;
        assert_eq!(available, !exhausted, "{config:?}");
        let again = problems(&again).iter().any(|(code, ..)| *code == "privacy-exhausted");
        assert!(!again, "told once");
    }
}
