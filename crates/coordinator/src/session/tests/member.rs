//! Orders to a member, and what it says of itself.

use fedra_protocol::CentralNoise;

use super::*;
use crate::settings::{Decay, Schedule};

fn assignment(script: &Script, round: RoundId) -> Act {
    let assignment = fedra_protocol::RoundAssignment {
        round,
        model: model_ref(&script.settings),
        training: script.settings.training(round),
        deadline: Duration::from_secs(60),
        max_staleness: script.settings.plan.mode.max_staleness(),
        privacy: None,
        codec: None,
        evaluates: false,
        steps: Box::default(),
        drawn: None,
        control: None,
    };
    Act::Send(ServerMessage::RoundAssignment(assignment))
}

fn seed(acts: &[Act]) -> u64 {
    match acts {
        [Act::Send(ServerMessage::RoundAssignment(assignment))] => assignment.training.seed(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_invitation_is_an_assignment_with_the_seed_of_its_round() {
    let mut script = Script::member();
    let acts = script.invite(R1);
    assert_eq!(acts, [assignment(&script, R1)]);
    assert_eq!(script.session.round(), Some(R1));
    let next = script.invite(R2);
    assert_eq!(next, [assignment(&script, R2)]);
    assert_ne!(seed(&acts), seed(&next), "each round has a seed of its own");
    let again = script.invite(round(2, 1));
    assert_eq!(seed(&next), seed(&again), "and its next attempt has the same");
}

#[test]
fn an_assignment_has_the_learning_rate_of_its_round() {
    for plan in [PLAN, BUFFERED] {
        let training_schedule = Schedule { warmup_rounds: 3, decay: Decay::Constant };
        let mut script = Script::member_of(TaskSettings { training_schedule, ..settings(plan) });
        let full = script.settings.training.learning_rate();
        for (round, factor) in [(1, 0.25), (3, 0.75), (4, 1.0), (9, 1.0)] {
            let acts = script.invite(RoundId { round, attempt: 2 });
            let [Act::Send(ServerMessage::RoundAssignment(assignment))] = acts.as_slice() else {
                panic!("{acts:?}");
            };
            assert_eq!(assignment.training.learning_rate(), full * factor, "round {round}");
        }
    }
}

#[test]
fn an_assignment_of_a_buffered_round_says_how_stale_its_update_may_be() {
    let mut script = Script::member_of(settings(BUFFERED));
    let acts = script.invite(R1);
    assert_eq!(acts, [assignment(&script, R1)]);
    let max_staleness = script.settings.plan.mode.max_staleness();
    assert!(max_staleness > 0);
}

#[test]
fn a_repeated_order_is_an_assignment_again_only_on_a_fresh_connection() {
    let mut script = Script::invited();
    assert_eq!(script.invite(R1), [], "the client has it");
    let (mut script, acts) = script.reconnect(None);
    assert_eq!(acts, []);
    assert_eq!(script.invite(R1), [assignment(&script, R1)]);
    assert_eq!(script.invite(R1), [], "once on a connection");
}

#[test]
fn the_deadline_of_a_repeated_assignment_is_what_is_left_of_it() {
    let script = Script::invited();
    let deadline = script.now + Duration::from_secs(60);
    let (mut script, _) = script.reconnect(None);
    script.now = script.now + Duration::from_secs(45);
    let invitation = invitation(&script.settings, R1, deadline);
    let acts = script.order(Order::Invited(Box::new(invitation)));
    let [Act::Send(ServerMessage::RoundAssignment(assignment))] = acts.as_slice() else {
        panic!("{acts:?}");
    };
    assert_eq!(assignment.deadline, Duration::from_secs(15));
}

#[test]
fn the_order_of_a_client_that_has_answered_is_not_repeated() {
    let mut script = Script::invited();
    script.decline(R1, None);
    let (mut script, _) = script.reconnect(None);
    assert_eq!(script.invite(R1), []);
    assert_eq!(script.invite(R2), [assignment(&script, R2)]);
}

#[test]
fn a_client_without_an_answer_hears_nothing_when_its_round_ends() {
    let mut script = Script::invited();
    assert_eq!(script.order(Order::Rest), []);
    let (_, begin) = update();
    assert_eq!(script.announce(&begin), [Act::Outcome(R1, LATE)]);
    assert_eq!(script.order(Order::Rest), []);
}

#[test]
fn a_client_with_an_announced_update_hears_that_its_round_is_over() {
    let (_, begin) = update();
    let mut queued = Script::invited();
    queued.announce(&begin);
    assert_eq!(queued.order(Order::Rest), [Act::Outcome(R1, LATE)]);
    assert_eq!(queued.session.wants_room(), None);

    let mut sending = Script::sending(&begin);
    let next = assignment(&sending, R2);
    assert_eq!(sending.invite(R2), [Act::Outcome(R1, LATE), next]);
    assert_eq!(sending.chunk(R1, 0, &[0; 4]), [], "it was on its way");
}

#[test]
fn a_client_that_stands_by_is_told_why_and_for_how_long() {
    let causes = [
        (StandbyCause::MissedDeadline, "no answer"),
        (StandbyCause::Declined, "declined"),
        (StandbyCause::Rejected, "rejected"),
        (StandbyCause::Lost, "connection was lost"),
    ];
    for (cause, words) in causes {
        let mut script = Script::member();
        let until = script.now + Duration::from_secs(40);
        let acts = script.order(Order::StandBy(cause, until));
        let [Act::Send(ServerMessage::Standby(standby))] = acts.as_slice() else {
            panic!("{acts:?}");
        };
        assert_eq!((standby.cause, standby.retry_after), (cause, Duration::from_secs(40)));
        assert!(standby.message.contains(words), "{}", standby.message);
    }
}

#[test]
fn a_standby_that_is_over_is_not_told() {
    let mut script = Script::member();
    let until = script.now;
    assert_eq!(script.order(Order::StandBy(StandbyCause::Lost, until)), []);
}

#[test]
fn a_standby_ends_an_upload() {
    let (_, begin) = update();
    let mut script = Script::sending(&begin);
    let until = script.now;
    let acts = script.order(Order::StandBy(StandbyCause::MissedDeadline, until));
    assert_eq!(acts, [Act::Outcome(R1, LATE)]);
}

#[test]
fn a_client_that_is_sent_away_is_told_when_to_come_back() {
    let mut script = Script::member();
    let wait = Duration::from_secs(31);
    let order = Input::Notice(Notice::Order(Order::Away(wait)));
    let refusal = ended(script.session.handle(order, script.now));
    assert_eq!((refusal.code, refusal.retry_after), (RefusalCode::NotSelected, Some(wait)));
}

#[test]
fn a_client_that_is_left_out_is_told_of_its_own_round_only() {
    let mut script = Script::invited();
    let fault = UpdateFault::OutOfRange;
    assert_eq!(script.order(Order::LeftOut(R2, fault)), []);
    assert_eq!(script.order(Order::LeftOut(R1, fault)), [Act::Outcome(R1, rejected(fault))]);
    assert_eq!(Script::member().order(Order::LeftOut(R1, fault)), []);
}

#[test]
fn news_are_told_from_the_newest_view() {
    let mut script = Script::member();
    script.refresh(R2, RoundPhase::Finalizing);
    script.now = script.now + Duration::from_secs(1);
    let status =
        view(&script.settings, R2, RoundPhase::Finalizing).status(&script.settings, script.now);
    assert_eq!(
        script.handle(Input::News),
        [Act::Send(ServerMessage::TaskStatus(Box::new(status)))]
    );
}

#[test]
fn a_client_that_pauses_leaves_its_round_and_may_resume() {
    let mut script = Script::invited();
    let paused = script.set_availability(Availability::Paused);
    assert_eq!(paused, [Act::Availability(Availability::Paused)]);
    assert_eq!(script.set_availability(Availability::Paused), [], "it is paused already");
    let (_, begin) = update();
    let left = rejected(UpdateFault::NotInCohort);
    assert_eq!(script.announce(&begin), [Act::Outcome(R1, left)]);
    let resumed = script.set_availability(Availability::Available);
    assert_eq!(resumed, [Act::Availability(Availability::Available)]);
    assert_eq!(script.invite(R2), [assignment(&script, R2)]);
}

#[test]
fn an_update_that_was_reported_counts_although_its_client_pauses() {
    let (bytes, begin) = update();
    let mut script = Script::sending(&begin);
    script.chunk(R1, 0, &bytes);
    let update = checked(&script.settings, &[0.0; 4]);
    script.handle(Input::Checked(Ok(update)));
    script.set_availability(Availability::Paused);
    assert_eq!(script.decline(R1, None), [], "it has answered");
    assert_eq!(script.verdict(R1, ACCEPTED), [Act::Outcome(R1, ACCEPTED)]);
}

#[test]
fn a_round_is_declined_once_and_only_by_those_who_are_in_it() {
    let mut script = Script::invited();
    let cause = Some(DeclineCause::TrainingFailed);
    assert_eq!(script.decline(R2, cause), [], "it is in another one");
    assert_eq!(script.decline(R1, cause), [Act::Decline(R1, cause)]);
    assert_eq!(script.decline(R1, cause), []);
    assert_eq!(Script::member().decline(R1, cause), []);
}

#[test]
fn a_decline_gives_up_the_room_of_an_upload() {
    let (_, begin) = update();
    let mut script = Script::invited();
    script.announce(&begin);
    assert_eq!(script.session.wants_room(), Some(begin.bytes));
    script.decline(R1, None);
    assert_eq!(script.session.wants_room(), None);
    assert_eq!(script.give_room(), [], "it came too late");
    assert_eq!(script.chunk(R1, 0, &[0; 4]), [], "the rest was on its way");
}

#[test]
fn a_decline_under_a_privacy_policy_says_nothing_about_the_data() {
    let policy = policy(Mechanism::Central(CentralNoise::Independent));
    let private = private_settings(PLAN, policy, Counting::Rounds);
    let heard = |cause| {
        let mut script = Script::member_of(private.clone());
        script.invite(R1);
        script.decline(R1, Some(cause))
    };
    let not_now = DeclineCause::NotNow;
    assert_eq!(heard(not_now), [Act::Decline(R1, Some(not_now))]);
    for cause in [DeclineCause::BadDataset, DeclineCause::OutOfRange] {
        assert_eq!(heard(cause), [Act::Decline(R1, None)], "{cause:?}");
    }
}

#[test]
fn an_update_out_of_place_is_judged_by_the_phase_of_its_round() {
    let misplaced = |of: RoundId, current: RoundId, phase| {
        let mut script = Script::member();
        script.refresh(current, phase);
        let begin = UpdateBegin { round: of, ..update().1 };
        match script.announce(&begin).as_slice() {
            [Act::Outcome(told, verdict)] if *told == of => *verdict,
            other => panic!("{other:?}"),
        }
    };
    let (unknown, foreign) =
        (rejected(UpdateFault::UnknownRound), rejected(UpdateFault::NotInCohort));
    assert_eq!(misplaced(R1, R2, RoundPhase::Collecting), LATE);
    assert_eq!(misplaced(R1, round(1, 1), RoundPhase::Selecting), LATE);
    assert_eq!(misplaced(R1, R1, RoundPhase::Finished), LATE);
    for phase in [RoundPhase::Collecting, RoundPhase::Masking, RoundPhase::Finalizing] {
        assert_eq!(misplaced(R1, R1, phase), foreign, "{phase:?}");
    }
    for phase in [RoundPhase::Selecting, RoundPhase::Paused] {
        assert_eq!(misplaced(R1, R1, phase), unknown, "{phase:?}");
    }
    for phase in [RoundPhase::Collecting, RoundPhase::Finished] {
        assert_eq!(misplaced(R2, R1, phase), unknown, "{phase:?}");
    }
}
