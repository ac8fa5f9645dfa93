//! From Hello to the first order.

use fedra_protocol::CentralNoise;

use super::*;

#[test]
fn the_first_message_must_be_hello() {
    let mut script = Script::greeting(PLAN);
    assert_eq!(
        script.say(ClientMessage::Ping { nonce: 1 }),
        [Act::End(RefusalCode::UnexpectedMessage)]
    );
    assert!(!script.session.reads(), "the session has ended");
    assert_eq!(script.say(hello(&[PROTOCOL_VERSION])), []);
    assert!(script.session.leave().is_none());
}

#[test]
fn a_client_without_a_common_version_is_refused() {
    let mut script = Script::greeting(PLAN);
    let unknown = [PROTOCOL_VERSION + 1, PROTOCOL_VERSION + 7];
    assert_eq!(script.say(hello(&unknown)), [Act::End(RefusalCode::UnsupportedVersion)]);
    let mut script = Script::greeting(PLAN);
    let outputs = script.session.handle(Input::Message(hello(&[])), script.now);
    assert!(ended(outputs).message.contains(&PROTOCOL_VERSION.to_string()));
}

#[test]
fn hello_is_answered_with_the_servers_settings() {
    let mut script = Script::greeting(PLAN);
    let welcome = Welcome {
        version: PROTOCOL_VERSION,
        session_id: "a".to_owned(),
        heartbeat: HEARTBEAT,
        max_chunk_bytes: MAX_CHUNK_BYTES,
    };
    let acts = script.say(hello(&[PROTOCOL_VERSION + 1, PROTOCOL_VERSION]));
    assert_eq!(acts, [Act::Send(ServerMessage::Welcome(welcome))]);
    assert!(script.session.reads());
}

#[test]
fn a_ping_before_the_check_in_is_answered() {
    let mut script = Script::greeting(PLAN);
    script.say(hello(&[PROTOCOL_VERSION]));
    let pong = Act::Send(ServerMessage::Pong { nonce: 5 });
    assert_eq!(script.say(ClientMessage::Ping { nonce: 5 }), [pong]);
    let acts = script.say(check_in(None, Availability::Available));
    assert_eq!(acts, [Act::Admit(None, Availability::Available)]);
}

#[test]
fn only_a_check_in_may_follow_welcome() {
    for message in [hello(&[PROTOCOL_VERSION]), ClientMessage::UpdateBegin(update().1)] {
        let mut script = Script::greeting(PLAN);
        script.say(hello(&[PROTOCOL_VERSION]));
        assert_eq!(script.say(message), [Act::End(RefusalCode::UnexpectedMessage)]);
        assert!(script.session.leave().is_none());
    }
}

#[test]
fn an_admitted_client_is_checked_in_and_joins() {
    let mut script = Script::admitting(settings(PLAN), Some(subject(1)), Availability::Available);
    let checked_in = CheckedIn {
        task: script.settings.description(),
        status: view(&script.settings, R1, RoundPhase::Collecting)
            .status(&script.settings, script.now),
    };
    // Its token may stand for another subject than it named.
    let expected = [
        Act::Send(ServerMessage::CheckedIn(Box::new(checked_in))),
        Act::Join(Some(subject(2)), Availability::Available),
    ];
    assert_eq!(script.admit(Some(subject(2))), expected);
    assert!(!script.session.is_member());
    assert_eq!(script.join(Participation::default()), []);
    assert!(script.session.is_member());
    assert_eq!(script.session.client(), Some(CLIENT));
    assert_eq!(script.session.round(), None);
}

#[test]
fn nothing_is_read_while_an_answer_is_awaited() {
    let mut script = Script::admitting(settings(PLAN), None, Availability::Available);
    assert!(!script.session.reads(), "admitting");
    assert_eq!(script.say(ClientMessage::Ping { nonce: 1 }), []);
    script.admit(None);
    assert!(!script.session.reads(), "joining");
    assert_eq!(script.say(ClientMessage::Ping { nonce: 1 }), []);
    script.join(Participation::default());
    assert!(script.session.reads());
    let pong = Act::Send(ServerMessage::Pong { nonce: 1 });
    assert_eq!(script.say(ClientMessage::Ping { nonce: 1 }), [pong]);
}

#[test]
fn inputs_for_a_member_mean_nothing_before_it_has_joined() {
    let mut script = Script::greeting(PLAN);
    assert_eq!(script.admit(None), [], "an admission that was not asked for");
    assert_eq!(script.join(Participation::default()), []);
    script.refresh(R2, RoundPhase::Collecting);
    for input in [Input::News, Input::TimePassed, Input::Room(Room::unlimited())] {
        assert_eq!(script.handle(input), []);
    }
    assert_eq!(script.order(Order::Rest), []);
    let session = &script.session;
    assert_eq!((session.wake_at(), session.wants_room(), session.expects()), (None, None, 0));
    assert!(session.participation().is_none());
    assert!(session.reads());
}

#[test]
fn a_private_task_refuses_a_participant_without_a_subject() {
    let private = || {
        let policy = policy(Mechanism::Central(CentralNoise::Independent));
        private_settings(PLAN, policy, Counting::Rounds)
    };
    let mut participant = Script::admitting(private(), None, Availability::Available);
    assert_eq!(participant.admit(None), [Act::End(RefusalCode::UnexpectedMessage)]);
    assert!(participant.session.leave().is_none(), "the core knows nothing of it");

    // Its token has a subject.
    let mut known = Script::admitting(private(), None, Availability::Available);
    assert_eq!(known.admit(Some(subject(1))).len(), 2);

    let mut observer = Script::admitting(private(), None, Availability::Paused);
    let acts = observer.admit(None);
    assert_eq!(acts[1..], [Act::Join(None, Availability::Paused)]);
    // The core keeps its availability, and it may not become a participant.
    let participation = Participation::default().attached(Availability::Paused);
    observer.join(participation);
    assert_eq!(observer.set_availability(Availability::Paused), []);
    let acts = observer.set_availability(Availability::Available);
    assert_eq!(acts, [Act::End(RefusalCode::UnexpectedMessage)]);
}

#[test]
fn a_replaced_or_contested_session_ends_with_a_typed_refusal() {
    let joining = || {
        let mut script = Script::admitting(settings(PLAN), None, Availability::Available);
        script.admit(None);
        script
    };
    let wait = Duration::from_secs(9);
    for make in [joining, Script::invited] {
        let mut script = make();
        let end = Input::Notice(Notice::Replaced);
        let refusal = ended(script.session.handle(end, script.now));
        assert_eq!((refusal.code, refusal.retry_after), (RefusalCode::Replaced, None));
        assert!(script.session.leave().is_some(), "the core has to hear that it is gone");

        let mut script = make();
        let end = Input::Notice(Notice::Contested(wait));
        let refusal = ended(script.session.handle(end, script.now));
        assert_eq!((refusal.code, refusal.retry_after), (RefusalCode::Replaced, Some(wait)));
        assert!(refusal.message.contains("two devices"));
    }
}

#[test]
fn what_a_session_leaves_behind_is_what_the_core_knows() {
    assert!(Script::greeting(PLAN).session.leave().is_none());
    let admitting = Script::admitting(settings(PLAN), None, Availability::Available);
    assert!(admitting.session.leave().is_none());

    let mut joining = Script::admitting(settings(PLAN), None, Availability::Available);
    joining.admit(None);
    let (connection, participation) = joining.session.leave().expect("it has told of it");
    assert_eq!(connection, CONNECTION);
    assert!(!participation.is_worth_keeping());

    let (connection, participation) = Script::invited().session.leave().expect("a member");
    assert_eq!(connection, CONNECTION);
    assert!(participation.is_worth_keeping());
}

#[test]
fn a_view_that_changes_during_the_check_in_is_the_members_view() {
    let mut script = Script::admitting(settings(PLAN), None, Availability::Available);
    script.admit(None);
    script.refresh(R2, RoundPhase::Selecting);
    script.join(Participation::default());
    let status =
        view(&script.settings, R2, RoundPhase::Selecting).status(&script.settings, script.now);
    assert_eq!(
        script.handle(Input::News),
        [Act::Send(ServerMessage::TaskStatus(Box::new(status)))]
    );
}

#[test]
fn a_member_checks_in_once() {
    for message in [hello(&[PROTOCOL_VERSION]), check_in(None, Availability::Available)] {
        let mut script = Script::member();
        assert_eq!(script.say(message), [Act::End(RefusalCode::UnexpectedMessage)]);
    }
}

#[test]
fn an_admission_is_logged_without_the_task() {
    let script = Script::admitting(settings(PLAN), None, Availability::Available);
    let admitted = script.admitted(Some(subject(1)));
    let shown = format!("{admitted:?}");
    assert!(shown.contains("ConnectionId(3)") && shown.contains("SubjectId("), "{shown}");
}

#[test]
fn a_refusal_of_malformed_bytes_fits_into_a_message() {
    let refusal = malformed("not a message");
    assert_eq!(refusal.code, RefusalCode::MalformedMessage);
    assert_eq!(refusal.message, "not a message");
    let long = "ä".repeat(fedra_protocol::limits::MAX_TEXT_BYTES);
    let cut = malformed(&long).message;
    assert!(cut.len() <= fedra_protocol::limits::MAX_TEXT_BYTES);
    assert!(long.starts_with(&cut), "cut between characters");
}
