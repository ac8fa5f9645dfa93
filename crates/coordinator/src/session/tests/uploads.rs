//! Updates from their announcement to their verdict, over one connection or more.

use fedra_aggregation::UpdateError;
use fedra_aggregation::codec::UpdateLength;
use fedra_protocol::UpdateOutcome;

use super::*;
use crate::writer::Contribution;

/// A member whose update has arrived and is being checked.
fn checking() -> Script {
    let (bytes, begin) = update();
    let mut script = Script::sending(&begin);
    assert_eq!(script.chunk(R1, 0, &bytes), [Act::Check(bytes)]);
    script
}

/// A member whose update is with the task's core.
fn judging() -> Script {
    let mut script = checking();
    let update = checked(&script.settings, &[0.5, -0.25, 1.0, 2.0]);
    let report = Act::Report(R1, Stage::Update, 10);
    assert_eq!(script.handle(Input::Checked(Ok(update))), [report]);
    script
}

fn refused(fault: UpdateFault) -> [Act; 2] {
    [Act::Refuse(R1, fault), Act::Outcome(R1, rejected(fault))]
}

#[test]
fn an_update_is_given_room_received_checked_reported_and_judged() {
    let (bytes, begin) = update();
    let mut script = Script::invited();
    assert_eq!(script.announce(&begin), []);
    assert_eq!(script.session.wants_room(), Some(16));
    assert_eq!(script.session.expects(), 0, "nothing may come yet");
    assert_eq!(script.give_room(), [ready(R1, 0)]);
    assert_eq!(script.session.wants_room(), None);
    assert!(script.session.expects() > 16, "a chunk and what is around it");
    assert_eq!(script.chunk(R1, 0, &bytes[..8]), []);
    assert_eq!(script.chunk(R1, 8, &bytes[8..]), [Act::Check(bytes)]);
    assert_eq!(script.session.expects(), 0);
    let update = checked(&script.settings, &[0.5, -0.25, 1.0, 2.0]);
    let report = Act::Report(R1, Stage::Update, 10);
    assert_eq!(script.handle(Input::Checked(Ok(update))), [report]);
    assert_eq!(script.verdict(R1, ACCEPTED), [Act::Outcome(R1, ACCEPTED)]);
    assert_eq!(script.verdict(R1, ACCEPTED), [], "there was one report");
}

#[test]
fn a_report_carries_the_update_that_was_checked() {
    let mut script = checking();
    let update = checked(&script.settings, &[1.0, 2.0, 3.0, 4.0]);
    let outputs = script.session.handle(Input::Checked(Ok(update)), script.now);
    let [Output::Tell(Command::Report(report))] = outputs.as_slice() else {
        panic!("{outputs:?}");
    };
    let Contribution::Update(received, weight) = &report.contribution else {
        panic!("{:?}", report.contribution);
    };
    assert_eq!((received.update.to_vec(), *weight), (Ok(vec![1.0, 2.0, 3.0, 4.0]), 10));
}

#[test]
fn an_update_of_another_length_is_refused_before_it_has_room() {
    for bytes in [0, 15, 20, u64::MAX] {
        let mut script = Script::invited();
        let begin = UpdateBegin { bytes, ..update().1 };
        assert_eq!(script.announce(&begin), refused(UpdateFault::WrongLength));
        assert_eq!(script.session.wants_room(), None);
    }
    let mut script = Script::invited();
    let begin = UpdateBegin { bytes: 15, ..update().1 };
    let outputs =
        script.session.handle(Input::Message(ClientMessage::UpdateBegin(begin)), script.now);
    let Some(Output::Send(ServerMessage::UpdateOutcome(UpdateOutcome { message, .. }))) =
        outputs.last()
    else {
        panic!("{outputs:?}");
    };
    assert_eq!(message, "15 bytes announced, the round needs 16");
}

#[test]
fn a_weight_is_at_least_one_and_at_most_the_plans() {
    for examples in [0, 101, u64::MAX] {
        let mut script = Script::invited();
        let begin = UpdateBegin { examples, ..update().1 };
        assert_eq!(script.announce(&begin), refused(UpdateFault::WeightOutOfRange));
    }
    for examples in [1, 100] {
        let mut script = Script::invited();
        let begin = UpdateBegin { examples, ..update().1 };
        assert_eq!(script.announce(&begin), []);
        assert_eq!(script.session.wants_room(), Some(16));
    }
}

#[test]
fn a_refused_update_is_not_announced_again() {
    let mut script = Script::invited();
    let begin = UpdateBegin { examples: 0, ..update().1 };
    script.announce(&begin);
    assert_eq!(script.announce(&update().1), [Act::Outcome(R1, TWICE)]);
}

#[test]
fn a_chunk_waits_for_its_room() {
    let (bytes, begin) = update();
    for announced in [false, true] {
        let mut script = Script::invited();
        if announced {
            script.announce(&begin);
        }
        assert_eq!(script.chunk(R1, 0, &bytes), refused(UpdateFault::WrongOffset));
        assert_eq!(script.chunk(R1, 8, &bytes), [], "one refusal is enough");
    }
}

#[test]
fn a_chunk_that_does_not_fit_ends_the_upload() {
    let (bytes, begin) = update();
    let mut gap = Script::sending(&begin);
    assert_eq!(gap.chunk(R1, 4, &bytes[4..]), refused(UpdateFault::WrongOffset));
    assert_eq!(gap.session.expects(), 0);

    let mut long = Script::sending(&begin);
    assert_eq!(long.chunk(R1, 0, &[0; 17]), refused(UpdateFault::WrongLength));

    let mut torn = Script::sending(&begin);
    let chunk = UpdateChunk { crc32: 1, ..UpdateChunk::new(R1, 0, bytes.slice(..8)) };
    let acts = torn.say(ClientMessage::UpdateChunk(chunk));
    assert_eq!(acts, refused(UpdateFault::ChecksumMismatch));

    let mut other = Script::sending(&begin);
    assert_eq!(other.chunk(R1, 0, &[0; 16]), refused(UpdateFault::ChecksumMismatch));
}

#[test]
fn an_update_that_fails_its_check_is_refused_with_the_fault() {
    let (range, expected) = (settings(PLAN).update_range, UpdateLength::Exactly(16));
    let errors = [
        (UpdateError::Padding, UpdateFault::OutOfRange),
        (UpdateError::OutOfRange { index: 2, value: 1e9, range }, UpdateFault::OutOfRange),
        (UpdateError::NotFinite { index: 0 }, UpdateFault::NotFinite),
        (UpdateError::WrongLength { expected, actual: 12 }, UpdateFault::WrongLength),
    ];
    for (error, fault) in errors {
        let mut script = checking();
        assert_eq!(script.handle(Input::Checked(Err(error))), refused(fault));
    }
}

#[test]
fn a_check_of_an_update_that_was_given_up_means_nothing() {
    let mut script = checking();
    script.decline(R1, None);
    assert_eq!(script.handle(Input::Checked(Err(UpdateError::NotFinite { index: 0 }))), []);
    let mut script = checking();
    assert_eq!(script.order(Order::Rest), [Act::Outcome(R1, LATE)]);
    let update = checked(&script.settings, &[0.0; 4]);
    assert_eq!(script.handle(Input::Checked(Ok(update))), []);
}

#[test]
fn an_update_that_is_announced_twice_is_counted_once() {
    let (bytes, begin) = update();
    let other = UpdateBegin { examples: 11, ..begin.clone() };
    let queued = || {
        let mut script = Script::invited();
        script.announce(&begin);
        script
    };
    for make in [&queued as &dyn Fn() -> Script, &checking, &judging] {
        let mut script = make();
        assert_eq!(script.announce(&begin), [], "it is being dealt with");
        assert_eq!(script.announce(&other), [Act::Outcome(R1, TWICE)]);
    }
    let mut sending = Script::sending(&begin);
    sending.chunk(R1, 0, &bytes[..4]);
    assert_eq!(sending.announce(&begin), [ready(R1, 4)], "it goes on");
    assert_eq!(sending.announce(&other), [Act::Outcome(R1, TWICE)]);
}

#[test]
fn a_chunk_of_an_update_that_is_whole_is_a_duplicate() {
    let (bytes, _) = update();
    for make in [checking, judging] {
        let mut script = make();
        assert_eq!(script.chunk(R1, 0, &bytes), [Act::Outcome(R1, TWICE)]);
        assert_eq!(script.chunk(R1, 8, &bytes), [], "one answer is enough");
    }
    let mut script = judging();
    script.chunk(R1, 0, &bytes);
    assert_eq!(script.verdict(R1, ACCEPTED), [Act::Outcome(R1, ACCEPTED)], "the first counts");
}

#[test]
fn a_verdict_that_was_told_stands_when_the_update_is_announced_again() {
    let (bytes, begin) = update();
    let mut script = judging();
    script.verdict(R1, ACCEPTED);
    assert_eq!(script.announce(&begin), [Act::Outcome(R1, ACCEPTED)]);
    assert_eq!(script.chunk(R1, 0, &bytes), [], "sent before the outcome came");
    let (mut script, acts) = script.reconnect(Some((R1, Stage::Update, ACCEPTED)));
    assert_eq!(acts, [], "it was heard");
    assert_eq!(script.announce(&begin), [Act::Outcome(R1, ACCEPTED)]);
    let other = UpdateBegin { examples: 11, ..begin };
    assert_eq!(script.announce(&other), [Act::Outcome(R1, TWICE)]);
}

#[test]
fn a_verdict_that_was_not_heard_is_told_on_the_next_connection() {
    let (_, begin) = update();
    let (mut script, acts) = judging().reconnect(Some((R1, Stage::Update, ACCEPTED)));
    assert_eq!(acts, [Act::Outcome(R1, ACCEPTED)]);
    assert_eq!(script.announce(&begin), [Act::Outcome(R1, ACCEPTED)]);
    assert_eq!(script.invite(R1), [], "it has answered");
}

#[test]
fn an_update_that_never_came_to_the_core_is_sent_again() {
    let (_, begin) = update();
    // The core judged another report last, or none.
    for judged in [None, Some((round(0, 0), Stage::Update, ACCEPTED))] {
        let (mut script, acts) = judging().reconnect(judged);
        assert_eq!(acts, []);
        assert_eq!(script.announce(&begin), []);
        assert_eq!(script.give_room(), [ready(R1, 0)]);
    }
}

#[test]
fn a_contribution_that_is_left_out_after_its_verdict_stays_out() {
    let (_, begin) = update();
    let fault = UpdateFault::OutOfRange;
    let mut script = judging();
    script.verdict(R1, ACCEPTED);
    assert_eq!(script.order(Order::LeftOut(R1, fault)), [Act::Outcome(R1, rejected(fault))]);
    assert_eq!(script.announce(&begin), [Act::Outcome(R1, rejected(fault))]);
}

#[test]
fn an_upload_goes_on_at_its_last_byte_on_the_next_connection() {
    let (bytes, begin) = update();
    let mut script = Script::sending(&begin);
    script.chunk(R1, 0, &bytes[..12]);
    let (mut script, acts) = script.reconnect(None);
    assert_eq!(acts, []);
    assert_eq!(script.announce(&begin), [ready(R1, 12)]);
    assert_eq!(script.chunk(R1, 12, &bytes[12..]), [Act::Check(bytes)]);
}

#[test]
fn a_connection_that_has_not_announced_the_update_sends_no_part_of_it() {
    let (bytes, begin) = update();
    let mut script = Script::sending(&begin);
    script.chunk(R1, 0, &bytes[..12]);
    let (mut script, _) = script.reconnect(None);
    assert_eq!(script.chunk(R1, 12, &bytes[12..]), refused(UpdateFault::WrongOffset));
}

#[test]
fn a_client_that_starts_over_on_its_next_connection_begins_another_update() {
    let (bytes, begin) = update();
    let mut script = Script::sending(&begin);
    script.chunk(R1, 0, &bytes[..12]);
    let (mut script, _) = script.reconnect(None);
    let other = update_bytes(&[1.0, 1.0, 1.0, 1.0]);
    assert_eq!(script.announce(&announcement(R1, &other, 10)), []);
    assert_eq!(script.give_room(), [ready(R1, 0)]);
    assert_eq!(script.chunk(R1, 0, &other), [Act::Check(other)]);
}

#[test]
fn an_update_that_waits_or_is_checked_when_the_connection_breaks_is_sent_again() {
    let (_, begin) = update();
    let queued = || {
        let mut script = Script::invited();
        script.announce(&begin);
        script
    };
    for make in [&queued as &dyn Fn() -> Script, &checking] {
        let (mut script, acts) = make().reconnect(None);
        assert_eq!(acts, []);
        assert_eq!(script.announce(&begin), []);
        assert_eq!(script.give_room(), [ready(R1, 0)]);
    }
}

#[test]
fn a_slow_upload_ends_its_connection_and_may_begin_anew() {
    let (bytes, begin) = update();
    let mut script = Script::sending(&begin);
    let start = script.now;
    assert_eq!(script.session.wake_at(), Some(start + Duration::from_secs(10)));
    script.chunk(R1, 0, &bytes[..4]);
    assert_eq!(script.session.wake_at(), Some(start + Duration::from_secs(12)), "it buys time");
    script.now = start + Duration::from_secs(11);
    assert_eq!(script.handle(Input::TimePassed), [], "it is fast enough");
    script.now = start + Duration::from_secs(12);
    assert_eq!(script.handle(Input::TimePassed), [Act::End(RefusalCode::Timeout)]);
    assert_eq!(script.session.wake_at(), None);
    let (mut script, _) = script.reconnect(None);
    assert_eq!(script.announce(&begin), []);
    assert_eq!(script.give_room(), [ready(R1, 0)]);
}

#[test]
fn a_slow_upload_of_an_earlier_connection_only_gives_its_room_back() {
    let (_, begin) = update();
    let (mut script, _) = Script::sending(&begin).reconnect(None);
    script.now = script.now + Duration::from_secs(10);
    assert_eq!(script.handle(Input::TimePassed), []);
    assert_eq!(script.session.wake_at(), None);
    assert_eq!(script.announce(&begin), []);
    assert_eq!(script.give_room(), [ready(R1, 0)]);
}

#[test]
fn a_room_that_nobody_waits_for_is_given_back() {
    let held = Arc::new(());
    let mut script = Script::invited();
    let room = Room::held_by(Arc::clone(&held));
    assert_eq!(format!("{room:?}"), "Room(held)");
    assert_eq!(script.handle(Input::Room(room)), []);
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn a_room_is_held_until_the_update_is_given_up() {
    let (_, begin) = update();
    let held = Arc::new(());
    let mut script = Script::invited();
    script.announce(&begin);
    script.handle(Input::Room(Room::held_by(Arc::clone(&held))));
    assert_eq!(Arc::strong_count(&held), 2);
    script.order(Order::Rest);
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn a_client_that_closes_on_purpose_leaves_the_round_that_it_has_not_answered() {
    let (bytes, begin) = update();
    let closed = |script: Script| {
        let (_, participation) = script.session.leave().expect("a member");
        let mut participation = participation.detached(None);
        participation.close();
        Script::resumed(settings(PLAN), participation)
    };
    let queued = || {
        let mut script = Script::invited();
        script.announce(&begin);
        script
    };
    let left = rejected(UpdateFault::NotInCohort);
    for open in [Script::invited(), queued(), Script::sending(&begin)] {
        let (mut script, acts) = closed(open);
        assert_eq!(acts, []);
        assert_eq!(script.announce(&begin), [Act::Outcome(R1, left)]);
        assert_eq!(script.chunk(R1, 0, &bytes), [], "sent before the outcome came");
    }
    let mut judged = judging();
    judged.verdict(R1, ACCEPTED);
    let (mut script, _) = closed(judged);
    assert_eq!(script.announce(&begin), [Act::Outcome(R1, ACCEPTED)], "it has answered");
}

#[test]
fn every_fault_has_a_sentence_of_its_own() {
    let faults = [
        UpdateFault::RoundOver,
        UpdateFault::UnknownRound,
        UpdateFault::NotInCohort,
        UpdateFault::Duplicate,
        UpdateFault::WrongLength,
        UpdateFault::WrongOffset,
        UpdateFault::ChecksumMismatch,
        UpdateFault::NotFinite,
        UpdateFault::OutOfRange,
        UpdateFault::WeightOutOfRange,
        UpdateFault::TooStale,
        UpdateFault::InvalidKeys,
        UpdateFault::InvalidShares,
        UpdateFault::WrongStep,
    ];
    let mut sentences = std::collections::BTreeSet::new();
    for fault in faults {
        let mut script = judging();
        let verdict = Input::Notice(Notice::Verdict(R1, rejected(fault)));
        let outputs = script.session.handle(verdict, script.now);
        let [Output::Send(ServerMessage::UpdateOutcome(outcome))] = outputs.as_slice() else {
            panic!("{outputs:?}");
        };
        assert!(sentences.insert(outcome.message.clone()), "{}", outcome.message);
    }
}
