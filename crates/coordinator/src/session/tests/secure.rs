//! Answers of secure aggregation, and updates that are encoded.

use fedra_aggregation::accumulator::Request;
use fedra_protocol::limits::MAX_MESSAGE_BYTES;
use fedra_protocol::{AdvertisedKeys, KeyDirectory, MaskedInputRequest, UnmaskingRequest};

use super::*;
use crate::writer::Contribution;

const STEP: Duration = crate::fixtures::STEP;

fn under(mechanism: Mechanism) -> TaskSettings {
    private_settings(PLAN, policy(mechanism), Counting::Rounds)
}

/// A client of a round with secure aggregation.
fn invited() -> Script {
    let mut script = Script::member_of(under(Mechanism::Distributed));
    script.invite(R1);
    script
}

/// One whose keys have been taken.
fn advertised() -> Script {
    let mut script = invited();
    assert_eq!(script.say(keys(R1)), [Act::Report(R1, Stage::Keys, 1)]);
    assert_eq!(script.verdict(R1, ACCEPTED), [], "there is nothing to say");
    script
}

/// One whose shares have been taken too.
fn shared() -> Script {
    let mut script = advertised();
    ask(&mut script, shares_request());
    assert_eq!(script.say(shares(R1)), [Act::Report(R1, Stage::Shares, 1)]);
    script.verdict(R1, ACCEPTED);
    script
}

fn keys(round: RoundId) -> ClientMessage {
    let keys = AdvertisedKeys { encryption: [1; 32], masking: [2; 32] };
    ClientMessage::AdvertiseKeys { round, keys }
}

fn shares(round: RoundId) -> ClientMessage {
    ClientMessage::ShareKeys { round, shares: Vec::new() }
}

fn unmasking_shares(round: RoundId) -> ClientMessage {
    ClientMessage::UnmaskingShares { round, self_masks: Vec::new(), pairwise: Vec::new() }
}

fn directory(deadline: Duration) -> KeyDirectory {
    let neighbours = Vec::new();
    KeyDirectory { round: R1, own: 1, cohort: 3, threshold: 2, neighbours, deadline, group: None }
}

fn shares_request() -> Request {
    Request::Shares(directory(Duration::ZERO))
}

fn input_request() -> Request {
    let deadline = Duration::ZERO;
    Request::MaskedInput(MaskedInputRequest { round: R1, shares: Vec::new(), deadline })
}

fn unmasking_request() -> Request {
    let deadline = Duration::ZERO;
    Request::Unmasking(UnmaskingRequest { round: R1, survivors: vec![0, 1, 2], deadline })
}

/// Asks for the answer within [`STEP`].
fn ask(script: &mut Script, request: Request) -> Vec<Act> {
    let (request, deadline) = (Arc::new(request), script.now + STEP);
    script.order(Order::Asked { round: R1, group: None, request, deadline })
}

fn encoded_update(settings: &TaskSettings) -> (Bytes, UpdateBegin) {
    let derived = &settings.privacy.as_ref().expect("a policy").derived;
    let words = vec![1; derived.encoding().expect("clients encode").len()];
    let bytes = Bytes::from(settings.codec.words().expect("words").encode(&words));
    let begin = announcement(R1, &bytes, 1);
    (bytes, begin)
}

#[test]
fn a_client_answers_each_step_of_secure_aggregation_once_it_is_asked() {
    let mut script = advertised();
    let asked = ask(&mut script, shares_request());
    assert_eq!(asked, [Act::Send(ServerMessage::KeyDirectory(directory(STEP)))]);
    assert_eq!(script.session.expects(), MAX_MESSAGE_BYTES as u64, "for the whole cohort");
    assert_eq!(script.say(shares(R1)), [Act::Report(R1, Stage::Shares, 1)]);
    assert_eq!(script.session.expects(), 0);
    assert_eq!(script.verdict(R1, ACCEPTED), []);

    let request = MaskedInputRequest { round: R1, shares: Vec::new(), deadline: STEP };
    let asked = ask(&mut script, input_request());
    assert_eq!(asked, [Act::Send(ServerMessage::MaskedInputRequest(request))]);
    let (bytes, begin) = encoded_update(&script.settings);
    assert_eq!(script.announce(&begin), []);
    assert_eq!(script.give_room(), [ready(R1, 0)]);
    assert_eq!(script.chunk(R1, 0, &bytes), [Act::Check(bytes.clone())]);
    assert_eq!(script.checked(bytes), [Act::Report(R1, Stage::MaskedInput, 1)]);
    assert_eq!(script.verdict(R1, ACCEPTED), [Act::Outcome(R1, ACCEPTED)], "it is an update");

    let survivors = vec![0, 1, 2];
    let request = UnmaskingRequest { round: R1, survivors, deadline: STEP };
    let asked = ask(&mut script, unmasking_request());
    assert_eq!(asked, [Act::Send(ServerMessage::UnmaskingRequest(request))]);
    assert_eq!(script.say(unmasking_shares(R1)), [Act::Report(R1, Stage::UnmaskingShares, 1)]);
    assert_eq!(script.verdict(R1, ACCEPTED), []);
}

#[test]
fn an_encoded_update_is_reported_as_it_was_received() {
    let mut script = Script::member_of(under(Mechanism::Local));
    script.invite(R1);
    let (bytes, begin) = encoded_update(&script.settings);
    assert_eq!(script.announce(&UpdateBegin { bytes: 16, ..begin.clone() }).len(), 2, "refused");
    script.invite(R2);
    let begin = UpdateBegin { round: R2, ..begin };
    script.announce(&begin);
    script.give_room();
    let chunk = ClientMessage::UpdateChunk(UpdateChunk::new(R2, 0, bytes.clone()));
    assert_eq!(script.handle(Input::Message(chunk)), [Act::Check(bytes.clone())]);
    let checked = CheckedUpdate::parse(bytes.clone(), &script.settings.codec);
    let outputs = script.session.handle(Input::Checked(checked), script.now);
    let [Output::Tell(Command::Report(report))] = outputs.as_slice() else {
        panic!("{outputs:?}");
    };
    assert_eq!((report.round, report.stage, report.weight), (R2, Stage::Update, 1));
    let Contribution::Update(received, 1) = &report.contribution else {
        panic!("{:?}", report.contribution);
    };
    assert_eq!(received.update.bytes(), &bytes);
}

#[test]
fn an_answer_to_another_step_is_refused() {
    let fault = UpdateFault::WrongStep;
    let refused = [Act::Refuse(R1, fault), Act::Outcome(R1, rejected(fault))];
    assert_eq!(invited().say(shares(R1)), refused);
    assert_eq!(invited().say(unmasking_shares(R1)), refused);
    let mut script = advertised();
    ask(&mut script, shares_request());
    assert_eq!(script.say(keys(R1)), refused);
    assert_eq!(Script::invited().say(keys(R1)), refused, "the task has no secure aggregation");
}

#[test]
fn an_update_is_not_announced_in_another_step() {
    let mut script = invited();
    let (_, begin) = encoded_update(&script.settings);
    let fault = UpdateFault::WrongStep;
    let refused = [Act::Refuse(R1, fault), Act::Outcome(R1, rejected(fault))];
    assert_eq!(script.announce(&begin), refused, "the core does not wait for it");
    assert_eq!(script.session.wants_room(), None);
    assert_eq!(script.say(keys(R1)), [Act::Outcome(R1, TWICE)], "its part has ended");
}

#[test]
fn an_answer_that_has_been_given_is_a_duplicate() {
    let mut judging = invited();
    judging.say(keys(R1));
    assert_eq!(judging.say(keys(R1)), [Act::Outcome(R1, TWICE)]);
    assert_eq!(judging.verdict(R1, ACCEPTED), [], "the first counts");
    assert_eq!(advertised().say(keys(R1)), [Act::Outcome(R1, TWICE)]);
}

#[test]
fn an_answer_that_crosses_with_the_clients_departure_means_nothing() {
    let mut declined = invited();
    declined.decline(R1, None);
    assert_eq!(declined.say(keys(R1)), []);
    let mut dismissed = invited();
    dismissed.order(Order::Rest);
    assert_eq!(dismissed.say(keys(R1)), []);
}

#[test]
fn an_answer_for_a_round_without_the_client_is_out_of_place() {
    let mut script = Script::member_of(under(Mechanism::Distributed));
    let foreign = rejected(UpdateFault::NotInCohort);
    assert_eq!(script.say(keys(R1)), [Act::Outcome(R1, foreign)]);
    let unknown = rejected(UpdateFault::UnknownRound);
    assert_eq!(invited().say(keys(R2)), [Act::Outcome(R2, unknown)]);
}

#[test]
fn an_answer_that_the_core_rejects_is_told() {
    let mut script = invited();
    script.say(keys(R1));
    let bad = rejected(UpdateFault::InvalidKeys);
    assert_eq!(script.verdict(R1, bad), [Act::Outcome(R1, bad)]);
}

#[test]
fn a_rejection_that_was_not_heard_is_told_on_the_next_connection() {
    let mut script = invited();
    script.say(keys(R1));
    let late = Some((R1, Stage::Keys, LATE));
    let (_, acts) = script.reconnect(late);
    assert_eq!(acts, [Act::Outcome(R1, LATE)]);
}

#[test]
fn the_verdict_of_an_earlier_step_is_not_that_of_this_one() {
    let mut script = advertised();
    ask(&mut script, shares_request());
    script.say(shares(R1));
    let (mut script, acts) = script.reconnect(Some((R1, Stage::Keys, ACCEPTED)));
    assert_eq!(acts, []);
    assert_eq!(ask(&mut script, shares_request()).len(), 1, "it is asked again");
    assert_eq!(script.say(shares(R1)), [Act::Report(R1, Stage::Shares, 1)]);
}

#[test]
fn a_request_is_repeated_on_a_fresh_connection_only_if_it_has_no_answer() {
    let mut script = advertised();
    let (mut fresh, _) = {
        ask(&mut script, shares_request());
        assert_eq!(ask(&mut script, shares_request()), [], "the client has it");
        script.reconnect(Some((R1, Stage::Keys, ACCEPTED)))
    };
    fresh.now = fresh.now + Duration::from_secs(1);
    let asked = ask(&mut fresh, shares_request());
    assert_eq!(asked, [Act::Send(ServerMessage::KeyDirectory(directory(STEP)))]);
    assert_eq!(ask(&mut fresh, shares_request()), [], "once on a connection");
    fresh.say(shares(R1));
    fresh.verdict(R1, ACCEPTED);
    let (mut answered, _) = fresh.reconnect(Some((R1, Stage::Shares, ACCEPTED)));
    assert_eq!(ask(&mut answered, shares_request()), []);
}

#[test]
fn a_request_waits_for_the_verdict_on_the_last_answer() {
    let mut script = invited();
    script.say(keys(R1));
    assert_eq!(ask(&mut script, shares_request()), [], "its keys are with the core");
    assert_eq!(Script::member().order(asked_of(R2)), [], "it is in no round");
}

fn asked_of(round: RoundId) -> Order {
    let request = Arc::new(shares_request());
    Order::Asked { round, group: None, request, deadline: Time::default() }
}

#[test]
fn a_client_that_left_after_its_answer_declines_the_next_request() {
    let mut script = advertised();
    assert_eq!(script.decline(R1, None), [Act::Decline(R1, None)], "the round needs it on");
    assert_eq!(ask(&mut script, shares_request()), [Act::Decline(R1, None)]);

    let mut script = invited();
    script.say(keys(R1));
    let paused = script.set_availability(Availability::Paused);
    assert_eq!(paused, [Act::Availability(Availability::Paused)]);
    assert_eq!(script.verdict(R1, ACCEPTED), [], "it has left");
    assert_eq!(ask(&mut script, shares_request()), [Act::Decline(R1, None)]);
}

#[test]
fn a_client_that_is_left_out_answers_nothing_more() {
    let mut script = shared();
    let fault = UpdateFault::NotInCohort;
    assert_eq!(script.order(Order::LeftOut(R1, fault)), [Act::Outcome(R1, rejected(fault))]);
    assert_eq!(script.say(shares(R1)), []);
    let (_, begin) = encoded_update(&script.settings);
    assert_eq!(script.announce(&begin), [Act::Outcome(R1, rejected(fault))]);
}

#[test]
fn a_masked_update_goes_on_at_its_last_byte_on_the_next_connection() {
    let mut script = shared();
    ask(&mut script, input_request());
    let (bytes, begin) = encoded_update(&script.settings);
    script.announce(&begin);
    script.give_room();
    script.chunk(R1, 0, &bytes[..1]);
    let (mut script, _) = script.reconnect(Some((R1, Stage::Shares, ACCEPTED)));
    assert_eq!(ask(&mut script, input_request()), [], "the upload goes on by itself");
    assert_eq!(script.announce(&begin), [ready(R1, 1)]);
    assert_eq!(script.chunk(R1, 1, &bytes[1..]), [Act::Check(bytes.clone())]);
    assert_eq!(script.checked(bytes), [Act::Report(R1, Stage::MaskedInput, 1)]);
}

#[test]
fn a_slow_masked_update_is_asked_for_again() {
    let mut script = shared();
    ask(&mut script, input_request());
    let (_, begin) = encoded_update(&script.settings);
    script.announce(&begin);
    script.give_room();
    script.now = script.now + Duration::from_secs(10);
    assert_eq!(script.handle(Input::TimePassed), [Act::End(RefusalCode::Timeout)]);
    let (mut script, _) = script.reconnect(Some((R1, Stage::Shares, ACCEPTED)));
    assert_eq!(ask(&mut script, input_request()).len(), 1);
    assert_eq!(script.announce(&begin), []);
    assert_eq!(script.give_room(), [ready(R1, 0)]);
}
