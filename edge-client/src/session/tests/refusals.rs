//! A server that says no: for good, for now, because enough others are there, or
//! to the token.

use super::private::problems;
use super::*;

fn refusal(code: RefusalCode, retry_after: Option<Duration>) -> Event {
    let message = "no".into();
    Event::Received(ServerMessage::Refusal(Refusal { code, message, retry_after }))
}

fn token(text: &str) -> Option<Token> {
    Some(Token::new(text).unwrap())
}

impl Rig {
    /// With an open socket and this token.
    fn connected(token: Option<Token>) -> Self {
        let mut rig = Self::new();
        rig.start();
        rig.feed(Event::Connected { token });
        rig
    }

    /// The next try, with this token.
    fn again(&mut self, token: Option<Token>) -> Vec<Action> {
        self.now = self.session.deadline().expect("it tries again");
        assert!(self.feed(Event::Timer).contains(&Action::Connect));
        self.feed(Event::Connected { token })
    }
}

#[test]
fn refusals_for_good_close_and_others_wait_as_long_as_the_server_says() {
    for code in [
        RefusalCode::UnknownTask,
        RefusalCode::UnsupportedClient,
        RefusalCode::UnsupportedVersion,
        RefusalCode::Replaced,
    ] {
        let mut rig = Rig::connected(None);
        let actions = rig.feed(refusal(code, None));
        let fatal = |action: &Action| {
            matches!(action, Action::Emit(ClientEvent::Error { fatal: true, .. }))
        };
        assert!(actions.iter().any(fatal), "{code:?}");
        assert!(rig.session.is_closed());
    }
    let mut rig = Rig::connected(None);
    rig.feed(refusal(RefusalCode::Overloaded, Some(seconds(90))));
    assert!(rig.session.deadline().unwrap() >= rig.now + seconds(90));
}

#[test]
fn a_server_that_shuts_down_or_is_full_is_come_back_to_with_the_work() {
    for code in [RefusalCode::ShuttingDown, RefusalCode::Timeout, RefusalCode::Overloaded] {
        let mut rig = Rig::uploading();
        let actions = rig.feed(refusal(code, Some(seconds(10))));
        assert!(!actions.contains(&Action::Abort), "{code:?}: {actions:?}");
        assert!(actions.contains(&Action::Disconnect { code: 4000 }), "it is no goodbye");
        let wait = rig.session.deadline().unwrap() - rig.now;
        assert!(wait >= seconds(10) && wait <= seconds(11), "{wait:?}");
        assert_eq!(rig.feed(Event::Disconnected { reason: "closed".into() }), []);
        rig.now = rig.session.deadline().unwrap();
        rig.feed(Event::Timer);
        assert_eq!(state(&rig.greet()), Some(SessionState::Uploading));
        assert!(matches!(rig.sent()[..], [ClientMessage::UpdateBegin(_)]));
    }
}

#[test]
fn not_being_selected_is_no_problem() {
    for jitter in [0.0, 0.999] {
        let mut rig = Rig::member();
        let event = refusal(RefusalCode::NotSelected, Some(seconds(30)));
        let actions = rig.session.handle(event, rig.now, jitter);
        assert!(problems(&actions).is_empty(), "{actions:?}");
        assert!(actions.contains(&Action::Disconnect { code: 1000 }));
        let wait = rig.session.deadline().unwrap() - rig.now;
        assert!(wait >= seconds(30) && wait <= seconds(33), "{wait:?}");
        let told = Action::Emit(ClientEvent::Status {
            state: SessionState::Waiting,
            round: None,
            reason: None,
            retry_in_ms: Some(wait.as_millis() as u64),
        });
        assert_eq!(actions.last(), Some(&told));
        assert_eq!(wait == seconds(30), jitter == 0.0, "spread by chance");
        rig.now = rig.session.deadline().unwrap();
        assert!(rig.feed(Event::Timer).contains(&Action::Connect));
        assert_eq!(state(&rig.greet()), Some(SessionState::Waiting));
    }
    // Without a time it is the client's own.
    let mut rig = Rig::member();
    rig.feed(refusal(RefusalCode::NotSelected, None));
    assert!(rig.session.deadline().unwrap() - rig.now <= seconds(1));
}

#[test]
fn the_token_of_the_connection_is_the_one_that_is_checked_in_with() {
    let mut rig = Rig::new();
    rig.start();
    for text in ["first", "second"] {
        rig.token = token(text);
        // The rig compares what is sent.
        rig.greet();
        rig.lose();
    }
}

#[test]
fn a_refused_token_is_tried_again_only_as_another_one() {
    let mut rig = Rig::connected(token("expired"));
    let actions = rig.feed(refusal(RefusalCode::Unauthorized, None));
    assert_eq!(problems(&actions), [("refused-unauthorized", "no", false)]);
    rig.now = rig.session.deadline().unwrap();
    rig.feed(Event::Timer);
    rig.token = token("fresh");
    assert_eq!(state(&rig.greet()), Some(SessionState::Waiting));

    let mut rig = Rig::connected(token("expired"));
    rig.feed(refusal(RefusalCode::Unauthorized, None));
    let actions = rig.again(token("expired"));
    assert_eq!(problems(&actions), [("refused-unauthorized", "no", true)]);
    assert!(rig.session.is_closed() && rig.sent().is_empty());
}

#[test]
fn without_a_token_unauthorized_is_for_good() {
    let mut rig = Rig::connected(None);
    let actions = rig.feed(refusal(RefusalCode::Unauthorized, None));
    assert_eq!(problems(&actions), [("refused-unauthorized", "no", true)]);
    assert!(rig.session.is_closed());
}

#[test]
fn fresh_tokens_are_not_tried_for_ever() {
    let mut rig = Rig::connected(token("0"));
    let mut waits = Vec::new();
    for attempt in 1..=3 {
        let actions = rig.feed(refusal(RefusalCode::Unauthorized, None));
        assert!(problems(&actions).iter().all(|(_, _, fatal)| !fatal), "{attempt}");
        waits.push(rig.session.deadline().unwrap() - rig.now);
        rig.again(token(&attempt.to_string()));
    }
    assert!(waits.is_sorted() && waits[0] < waits[2], "{waits:?}");
    let actions = rig.feed(refusal(RefusalCode::Unauthorized, None));
    assert_eq!(problems(&actions), [("refused-unauthorized", "no", true)]);
}

#[test]
fn a_check_in_forgets_refused_tokens() {
    let mut rig = Rig::new();
    rig.start();
    for round in 0..10 {
        rig.feed(Event::Connected { token: token("late") });
        rig.feed(refusal(RefusalCode::Unauthorized, None));
        rig.now = rig.session.deadline().unwrap();
        rig.feed(Event::Timer);
        rig.sent();
        rig.token = token("fresh");
        assert_eq!(state(&rig.greet()), Some(SessionState::Waiting), "{round}");
        rig.lose();
    }
}

#[test]
fn a_token_that_expires_in_a_round_does_not_cost_the_round() {
    let mut rig = Rig::uploading();
    rig.lose();
    rig.feed(Event::Connected { token: token("expired") });
    let actions = rig.feed(refusal(RefusalCode::Unauthorized, None));
    assert!(!actions.contains(&Action::Abort));
    rig.now = rig.session.deadline().unwrap();
    rig.feed(Event::Timer);
    rig.sent();
    rig.token = token("fresh");
    assert_eq!(state(&rig.greet()), Some(SessionState::Uploading));
}

#[test]
fn a_source_without_a_token_is_asked_again() {
    let mut rig = Rig::new();
    rig.start();
    let actions = rig.feed(Event::NoToken { reason: "the page is offline".into() });
    let [(code, message, fatal)] = problems(&actions)[..] else { panic!("{actions:?}") };
    assert_eq!((code, fatal), ("token-failed", false));
    assert!(message.contains("the page is offline"));
    assert_eq!(state(&actions), Some(SessionState::Reconnecting));
    rig.now = rig.session.deadline().unwrap();
    assert!(rig.feed(Event::Timer).contains(&Action::Connect));
}
