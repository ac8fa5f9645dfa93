//! Rounds from the first check-in to the new model.

use fedra_aggregation::{Codec, UpdateShape};
use fedra_learning::init_parameters;
use fedra_learning::metrics::ConfusionMatrix;
use fedra_protocol::{
    ClientAlgorithm, CodecName, DeclineCause, Evaluation, LocalTraining, Quality, RawLocalTraining,
    RoundPhase, StandbyCause, UpdateFault,
};

use super::*;
use crate::fixtures::Write;
use crate::fixtures::{PARAMETERS, PLAN, R1, R2, round, settings};
use crate::round::RoundPlan;
use crate::status::HealthState;

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_round_makes_the_mean_of_its_reports_the_new_model() {
    let mut bench = Bench::new(settings(PLAN));
    bench.join_all(3);
    let opened = bench.wait(PLAN.selection_window);
    for connection in 1..=3 {
        assert_eq!(invitation(&opened, connection), Some(R1));
    }
    bench.counters.received(100);
    bench.counters.sent(7);
    for (client, value) in [(1, 0.25), (2, 0.5), (3, 0.75)] {
        let actions = bench.report(client, R1, &[value; 4]);
        assert_eq!(verdict(&actions, client), Some(UpdateVerdict::Accepted));
    }
    let made = bench.write();
    assert_eq!(bench.model(), [0.5; 4]);
    let record = bench.core.view().history.back().cloned().expect("a round");
    assert_eq!((record.round, record.cohort, record.reports, record.weight), (1, 3, 3, 30));
    assert_eq!((record.bytes_up, record.bytes_down), (100, 7));
    let served = |a: &Action| matches!(a, Action::Serve(hash, _) if *hash == record.sha256);
    assert!(made.iter().any(served), "{made:?}");
    assert!(made.iter().any(|action| matches!(action, Action::Evaluate(1, _))));
    assert_eq!(bench.core.view().model.round, 1);
    assert_eq!(bench.core.view().progress.round, R2);
}

#[test]
fn clients_are_told_of_the_steps_to_the_model() {
    let settings = settings(PLAN);
    let shape = UpdateShape::Values { len: PARAMETERS, range: settings.update_range };
    let codec = Codec::new(Some(CodecName::Eden1), shape).expect("of values");
    let settings = TaskSettings { model_codec: Some(codec), ..settings };
    let initial = init_parameters(&settings.model, settings.seed);
    let store = FlakyStore::with(&settings, &initial);
    let mut bench = Bench::on(settings, store);
    bench.join_all(3);
    bench.wait(PLAN.selection_window);
    (1..=3).for_each(|client| drop(bench.report(client, R1, &[0.5; 4])));
    let made = bench.write();
    let record = bench.core.view().history.back().cloned().expect("a round");
    let step = record.step.expect("a step");
    let served = |a: &Action| matches!(a, Action::ServeStep(hash, _) if *hash == step.sha256);
    assert!(made.iter().any(served), "{made:?}");
    let opened = bench.wait(PLAN.selection_window);
    let invited = |actions: &[Action]| {
        actions.iter().find_map(|action| match action {
            Action::Notify(_, Notice::Order(Order::Invited(invitation))) => {
                Some((invitation.steps.clone(), invitation.drawn.clone()))
            }
            _ => None,
        })
    };
    let (steps, drawn) = invited(&made).or_else(|| invited(&opened)).expect("an invitation");
    assert_eq!(
        drawn.map(|drawn| (drawn.sha256, drawn.seed)),
        Some((step.base, bench.settings.seed))
    );
    let [told] = steps.as_slice() else { panic!("{steps:?}") };
    assert_eq!((told.base, told.file.sha256), (step.base, step.sha256));
    assert_eq!(told.file.url, format!("steps/{}", step.sha256));
}

#[test]
fn clients_that_train_with_variates_are_told_of_the_servers_from_the_second_round_on() {
    let raw = RawLocalTraining { epochs: 0, steps: 4, ..RawLocalTraining::default() };
    let plan = |algorithm| LocalTraining::new(RawLocalTraining { algorithm, ..raw.clone() });
    for (algorithm, population) in
        [(ClientAlgorithm::Scaffold, Some(4)), (ClientAlgorithm::Sgd, None)]
    {
        let training = plan(algorithm).expect("a sound plan");
        let mut bench = Bench::new(TaskSettings { training, population, ..settings(PLAN) });
        bench.join_all(3);
        let control = |actions: &[Action]| {
            actions.iter().find_map(|action| match action {
                Action::Notify(_, Notice::Order(Order::Invited(invitation))) => {
                    Some(invitation.control.clone())
                }
                _ => None,
            })
        };
        let first = bench.wait(PLAN.selection_window);
        assert_eq!(control(&first), Some(None), "it is zero");
        (1..=3).for_each(|client| drop(bench.report(client, R1, &[0.5; 4])));
        let made = bench.write();
        let record = bench.core.view().history.back().cloned().expect("a round");
        let served = made.iter().find_map(|action| match action {
            Action::ServeControl(hash, _) => Some(*hash),
            _ => None,
        });
        let control_of_round = record.control.map(|control| control.sha256);
        assert_eq!((served, served.is_some()), (control_of_round, population.is_some()));
        let opened = bench.wait(PLAN.selection_window);
        let told = control(&made).or_else(|| control(&opened)).expect("an invitation");
        let expected = served.map(|sha256| (format!("models/{sha256}"), 1));
        assert_eq!(told.map(|told| (told.url, told.round)), expected);
    }
}

#[test]
fn what_is_accepted_is_folded_and_nothing_else() {
    let mut bench = Bench::new(settings(PLAN));
    bench.join_all(3);
    bench.wait(PLAN.selection_window);
    bench.jobs.clear();
    let late = bench.report(1, round(3, 0), &[1.0; 4]);
    assert_eq!(verdict(&late, 1), Some(UpdateVerdict::Rejected(UpdateFault::UnknownRound)));
    assert!(bench.jobs.is_empty());
    bench.report(1, R1, &[1.0; 4]);
    let twice = bench.report(1, R1, &[1.0; 4]);
    assert_eq!(verdict(&twice, 1), Some(UpdateVerdict::Rejected(UpdateFault::Duplicate)));
    assert_eq!(bench.jobs.len(), 1);
}

#[test]
fn a_model_that_cannot_be_stored_is_announced_to_nobody_and_the_next_attempt_may_be() {
    let mut bench = Bench::new(settings(PLAN));
    bench.join_all(3);
    bench.wait(PLAN.selection_window);
    bench.counters.received(100);
    (1..=3).for_each(|client| drop(bench.report(client, R1, &[1.0; 4])));
    bench.store.refuse(Write::Commit);
    let failed = bench.write();
    assert!(!failed.iter().any(|a| matches!(a, Action::Serve(..) | Action::Evaluate(..))));
    assert_eq!(bench.core.view().model.round, 0);
    bench.store.refuse(None);
    let again = bench.wait(MINUTE);
    let second = round(1, 1);
    assert_eq!(invitation(&again, 1), Some(second));
    (1..=3).for_each(|client| drop(bench.report(client, second, &[1.0; 4])));
    bench.write();
    let record = bench.core.view().history.back().cloned().expect("a round");
    // What the failed attempt has taken belongs to the round.
    assert_eq!((record.round, record.attempt, record.bytes_up), (1, 1, 100));
}

#[test]
fn an_update_that_the_writer_leaves_out_is_told_to_its_client() {
    let mut bench = Bench::new(settings(PLAN));
    bench.join_all(3);
    bench.wait(PLAN.selection_window);
    // One parameter too few: no session would let it pass.
    let contribution = contribution(&bench.settings, &[1.0; 3], 10);
    let (client, round, stage) = (ClientId(1), R1, Stage::Update);
    let report = Report { client, round, stage, weight: 10, contribution };
    bench.handle(Command::Report(report));
    let told = bench.write();
    let left_out = |notice: &&Notice| matches!(notice, Notice::Order(Order::LeftOut(R1, _)));
    assert!(notices(&told, 1).iter().any(left_out), "{told:?}");
    assert_eq!(bench.core.progress().reported, 0);
}

#[test]
fn clients_that_decline_again_and_again_wait_and_the_operator_is_told_why() {
    let mut bench = Bench::new(settings(RoundPlan { minimum_cohort: 2, ..PLAN }));
    bench.join_all(2);
    let mut standby = None;
    for _ in 0..3 {
        let opened = bench.wait(MINUTE);
        let round = invitation(&opened, 1).expect("an invitation");
        for client in 1..=2 {
            let cause = Some(DeclineCause::TrainingDiverged);
            let told = bench.handle(Command::Decline(ClientId(client), round, cause));
            let is_standby = |notice: &&Notice| {
                matches!(notice, Notice::Order(Order::StandBy(StandbyCause::Declined, _)))
            };
            standby =
                standby.or(notices(&told, client).iter().copied().find(is_standby).map(|_| client));
        }
    }
    assert_eq!(standby, Some(1));
    let health = &bench.core.view().health;
    assert_eq!((health.state, health.attempts), (HealthState::Failing, 3));
    let reason = health.reason.as_deref().expect("a reason");
    assert!(reason.contains("training diverged"), "{reason}");
}

#[test]
fn what_is_remembered_of_a_client_outlives_its_connections() {
    let mut bench = Bench::new(settings(PLAN));
    bench.join_all(2);
    for _ in 0..3 {
        let opened = bench.wait(MINUTE);
        let round = invitation(&opened, 1).expect("an invitation");
        // One report is too few: the attempt ends.
        bench.handle(Command::Refuse(ClientId(1), round, UpdateFault::WrongLength));
    }
    assert_eq!(bench.core.progress().left_out, 1);
    bench.leave(1, Departure::Closed);
    assert_eq!(bench.core.progress().left_out, 0);
    bench.join(9, Some(subject(1)));
    assert_eq!(bench.core.progress().left_out, 1, "it is left out as before");
    bench.leave(9, Departure::Closed);
    bench.join(10, None);
    assert_eq!(bench.core.progress().left_out, 0, "one without a name is new");
}

#[test]
fn a_change_of_phase_is_published_at_once_and_a_count_a_little_later() {
    let mut bench = Bench::new(settings(RoundPlan { minimum_cohort: 4, ..PLAN }));
    let is_view = |action: &Action| matches!(action, Action::Publish(_));
    assert!(!bench.join(1, None).iter().any(is_view));
    assert_eq!(bench.core.view().progress.clients, 0);
    assert!(bench.wait(Duration::from_millis(200)).iter().any(is_view));
    assert_eq!(bench.core.view().progress.clients, 1);
    for connection in 2..=4 {
        bench.join(connection, None);
    }
    // All places are taken: the round opens.
    assert_eq!(bench.core.view().progress.phase, RoundPhase::Collecting);
    assert_eq!(bench.core.wake_at(), Some(bench.now + PLAN.deadline));
}

#[test]
fn an_evaluation_belongs_to_its_round_and_the_newest_is_shown() {
    let mut bench = Bench::new(settings(PLAN));
    bench.join_all(3);
    bench.wait(PLAN.selection_window);
    (1..=3).for_each(|client| drop(bench.report(client, R1, &[1.0; 4])));
    bench.write();
    let mut evaluated = |round, loss, class| {
        let mut matrix = ConfusionMatrix::new(2).unwrap();
        matrix.add(class, class);
        let evaluation = Evaluation { round, quality: Quality::of_loss(loss) };
        bench.handle(Command::Evaluated(Box::new(evaluation), Some(Arc::new(matrix))));
    };
    evaluated(1, 0.5, 1);
    evaluated(0, 2.0, 0);
    let view = bench.core.view();
    assert_eq!(view.evaluation.map(|e| (e.round, e.quality.loss)), Some((1, 0.5)));
    assert_eq!(view.confusion.as_ref().map(|matrix| matrix.right(1)), Some(1));
    let losses: Vec<_> = view.history.iter().map(|r| r.quality.map(|q| q.loss)).collect();
    assert_eq!(losses, [Some(2.0), Some(0.5)]);
}

#[test]
fn clients_beyond_the_waiting_room_are_sent_away() {
    let plan = RoundPlan { invited: 2, report_goal: 2, waiting_room: Some(0), ..PLAN };
    let mut bench = Bench::new(settings(plan));
    bench.join(1, None);
    let opened = bench.join(2, None);
    assert!(invitation(&opened, 1).is_some());
    bench.join(3, None);
    (1..=2).for_each(|client| drop(bench.report(client, R1, &[1.0; 4])));
    let next = bench.write();
    let away: Vec<_> = (1..=3)
        .filter(|connection| {
            let is_away = |n: &&Notice| matches!(n, Notice::Order(Order::Away(_)));
            notices(&next, *connection).iter().any(is_away)
        })
        .collect();
    assert_eq!(away.len(), 1, "{next:?}");
    assert_eq!(bench.core.progress().clients, 2);
}
