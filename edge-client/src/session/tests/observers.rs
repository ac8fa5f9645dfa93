//! A client without data: it observes, until there are some that fit the task.

use super::private::{policy, private_assignment, problems};
use super::*;

const AVAILABLE: ClientMessage = ClientMessage::SetAvailability(Availability::Available);
const PAUSED: ClientMessage = ClientMessage::SetAvailability(Availability::Paused);

impl Rig {
    /// Checked in, without data.
    fn observer() -> Self {
        let mut rig = Self::new();
        assert!(rig.feed(Event::Start).contains(&Action::Connect));
        let actions = rig.greet();
        assert_eq!(rig.checked_in_as, Availability::Paused);
        assert_eq!(state(&actions), Some(SessionState::Idle));
        assert_eq!(actions.last(), Some(&Action::Judge));
        rig
    }
}

fn new_status(status: TaskStatus) -> Event {
    Event::Received(ServerMessage::TaskStatus(Box::new(status)))
}

#[test]
fn an_observer_hears_of_task_rounds_and_models_and_says_nothing() {
    let mut rig = Rig::observer();
    assert!(rig.session.task().is_some());
    let actions = rig.feed(new_status(status(2, RoundPhase::Collecting)));
    let told = |wanted: fn(&ClientEvent) -> bool| {
        actions.iter().any(|action| matches!(action, Action::Emit(event) if wanted(event)))
    };
    assert!(told(|event| matches!(event, ClientEvent::Round(_))));
    assert!(told(|event| matches!(event, ClientEvent::Model { .. })));
    assert_eq!(state(&rig.reconnect()), Some(SessionState::Idle));
    assert_eq!(rig.checked_in_as, Availability::Paused);
    assert!(rig.sent().is_empty());
}

#[test]
fn an_observer_that_is_invited_declines() {
    let mut rig = Rig::observer();
    assert_eq!(rig.feed(Event::Received(assignment(ROUND))), []);
    let [ClientMessage::Decline { round: ROUND, cause, .. }] = &rig.sent()[..] else {
        panic!("declines")
    };
    assert_eq!(*cause, Some(DeclineCause::NotNow));
}

#[test]
fn data_that_fit_make_a_participant_of_an_observer() {
    let mut rig = Rig::observer();
    assert_eq!(rig.feed(Event::DataGiven), [Action::Judge]);
    assert!(rig.sent().is_empty(), "nothing before they are judged");
    assert_eq!(state(&rig.feed(Event::DataReady)), Some(SessionState::Waiting));
    assert_eq!(rig.sent(), [AVAILABLE]);
    assert_eq!(rig.feed(Event::DataReady), [], "once");
    rig.reconnect();
    assert_eq!(rig.checked_in_as, Availability::Available);
    assert!(rig.sent().is_empty());
}

#[test]
fn data_are_judged_once_the_task_is_known() {
    let mut rig = Rig::new();
    assert_eq!(rig.feed(Event::DataGiven), []);
    rig.feed(Event::Start);
    assert_eq!(rig.feed(Event::DataGiven), []);
    assert!(rig.greet().contains(&Action::Judge));
}

#[test]
fn data_do_not_end_a_pause() {
    let mut rig = Rig::observer();
    rig.feed(Event::Pause);
    assert_eq!(state(&rig.feed(Event::DataReady)), Some(SessionState::Paused));
    assert!(rig.sent().is_empty());
    assert_eq!(state(&rig.feed(Event::Resume)), Some(SessionState::Waiting));
    assert_eq!(rig.sent(), [AVAILABLE]);
}

#[test]
fn a_round_in_hand_is_checked_in_with_whatever_follows_it() {
    let mut rig = Rig::working();
    rig.reconnect();
    assert_eq!(rig.checked_in_as, Availability::Available);
    assert!(rig.sent().is_empty());
}

#[test]
fn data_are_judged_again_when_the_task_has_another_description() {
    let mut rig = Rig::member();
    assert!(!rig.reconnect().contains(&Action::Judge), "it is the same");
    rig.has_data = false;
    rig.task.update_range = UpdateRange::new(1).unwrap();
    assert!(rig.reconnect().contains(&Action::Judge));
    let actions = rig.feed(Event::Misfit { reason: "too large".into() });
    assert_eq!(problems(&actions), [("bad-dataset", "too large", false)]);
    assert_eq!(rig.sent(), [PAUSED]);
    rig.reconnect();
    assert_eq!(rig.checked_in_as, Availability::Paused);
    assert_eq!(state(&rig.feed(Event::DataReady)), Some(SessionState::Waiting));
    assert_eq!(rig.sent(), [AVAILABLE]);
}

/// A client that goes on, or stays away, would tell whether its data fit.
#[test]
fn a_private_task_that_takes_other_data_now_is_left_whatever_the_data() {
    for has_data in [false, true] {
        let mut rig = Rig::with(config(), Some(policy(Mechanism::Local)));
        rig.feed(Event::Start);
        rig.has_data = has_data;
        rig.greet();
        rig.task.update_range = UpdateRange::new(1).unwrap();
        let actions = rig.reconnect();
        assert!(!actions.contains(&Action::Judge));
        let [(code, message, fatal)] = problems(&actions)[..] else { panic!("{actions:?}") };
        assert_eq!((code, fatal), ("privacy-refused", true));
        assert!(message.contains("has changed since this client joined"), "{message}");
        assert!(rig.sent().is_empty());
    }
}

#[test]
fn a_private_task_hears_of_a_client_with_data_only_once_they_fit() {
    let mut rig = Rig::with(config(), Some(policy(Mechanism::Local)));
    rig.feed(Event::DataGiven);
    rig.feed(Event::Start);
    rig.greet();
    assert_eq!(rig.checked_in_as, Availability::Paused);
    // They do not fit: the owner is told, and the server is not.
    rig.reconnect();
    assert_eq!(rig.checked_in_as, Availability::Paused);
    assert!(rig.sent().is_empty());
    rig.feed(Event::DataReady);
    assert_eq!(rig.sent(), [AVAILABLE]);
    let actions = rig.feed(Event::Received(private_assignment(ROUND)));
    assert!(actions.iter().any(|action| matches!(action, Action::Work(_))));
}

#[test]
fn the_end_of_the_task_is_told_once_and_the_client_stays() {
    let finished = || status(3, RoundPhase::Finished);
    let ends = |actions: &[Action]| {
        let codes = problems(actions).into_iter().map(|(code, _, fatal)| (code.to_owned(), fatal));
        codes.filter(|(code, _)| code != "no-server").collect::<Vec<_>>()
    };
    let told = [("task-finished".to_owned(), false)];
    let mut rig = Rig::member();
    assert_eq!(ends(&rig.feed(new_status(finished()))), told);
    assert_eq!(ends(&rig.feed(new_status(finished()))), []);
    rig.lose();
    assert_eq!(ends(&rig.greet_at(finished())), []);
    assert_eq!(rig.session.status(), Some(&finished()));

    let mut visitor = Rig::new();
    visitor.feed(Event::Start);
    assert_eq!(ends(&visitor.greet_at(finished())), told);
    assert!(!visitor.session.is_closed());
}
