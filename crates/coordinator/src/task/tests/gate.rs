//! Gate of a task: models that are kept and refused, and a stop at each moment between.

use fedra_aggregation::{CheckedUpdate, ServerOptimizer};
use fedra_protocol::{
    CentralNoise, ClientEvaluation, Evaluation, Mechanism, ModelRef, PrivacyPolicy, Quality,
    RoundPhase,
};

use super::*;
use crate::fixtures::{
    BUFFERED, PLAN, R1, R2, Write, policy, private_settings, round, settings, update_bytes,
};
use crate::round::{Operation, RoundPlan, Standing};
use crate::settings::{Counting, EvaluationRounds};
use crate::status::HealthState;
use crate::storage::{Gate, GateRefusal, LossSource, RoundRecord};
use crate::writer::{Contribution, Received, Room};

const MINUTE: Duration = Duration::from_secs(60);
const GATE: Gate =
    Gate { source: LossSource::Server, loss_increase: 0.5, loss_limit: None, rollbacks: 3 };

fn gated(plan: RoundPlan) -> TaskSettings {
    TaskSettings { gate: Some(GATE), ..settings(plan) }
}

/// A task with three clients, at the start of its first round.
fn at_work(settings: TaskSettings) -> Bench {
    let mut bench = Bench::new(settings);
    bench.join_all(3);
    bench.wait(PLAN.selection_window);
    bench
}

/// The three clients report this value for each parameter; the model is stored.
fn train(bench: &mut Bench, round: RoundId, value: f32) -> Vec<Action> {
    for client in 1..=3 {
        let actions = bench.report(client, round, &[value; 4]);
        assert_eq!(verdict(&actions, client), Some(UpdateVerdict::Accepted), "{round}");
    }
    bench.write()
}

/// The server has evaluated the model of a round: the result is stored, and told.
fn evaluate(bench: &mut Bench, round: u64, loss: f64) -> Vec<Action> {
    store_quality(bench, round, loss);
    let mut actions = bench.handle(evaluated(round, loss));
    actions.extend(bench.write());
    actions
}

fn evaluated(round: u64, loss: f64) -> Command {
    let quality = Quality::of_loss(loss);
    Command::Evaluated(Box::new(Evaluation { round, quality }), None)
}

/// Stores the result alone, as when the server stops before it is told.
fn store_quality(bench: &Bench, round: u64, loss: f64) {
    bench.lease.set_quality(round, Quality::of_loss(loss)).expect("notes");
}

/// The rounds that are to be evaluated.
fn to_evaluate(actions: &[Action]) -> Vec<u64> {
    let round = |action: &Action| match action {
        Action::Evaluate(round, _) => Some(*round),
        _ => None,
    };
    actions.iter().filter_map(round).collect()
}

fn serves(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::Serve(..)))
}

/// Round and model of an invitation.
fn invited(actions: &[Action]) -> Option<(RoundId, ModelRef)> {
    actions.iter().find_map(|action| match action {
        Action::Notify(_, Notice::Order(Order::Invited(invitation))) => {
            Some((invitation.round, invitation.model.clone()))
        }
        _ => None,
    })
}

fn newest(bench: &Bench) -> RoundRecord {
    bench.core.view().history.back().cloned().expect("a round")
}

fn phase(bench: &Bench) -> RoundPhase {
    bench.core.progress().phase
}

/// A task whose first round was kept with a loss of 1, in its second.
fn after_a_kept_round(settings: TaskSettings) -> Bench {
    let mut bench = at_work(settings);
    train(&mut bench, R1, 1.0);
    evaluate(&mut bench, 1, 1.0);
    bench.wait(PLAN.selection_window);
    assert_eq!(bench.core.progress().cohort, 3);
    bench
}

/// Starts the server anew with what is stored, and lets it do what is due at once.
fn restart(bench: Bench) -> (Bench, Vec<Action>) {
    let settings = TaskSettings::clone(&bench.settings);
    let mut bench = Bench::on(settings, bench.store);
    let mut actions = bench.wait(Duration::ZERO);
    actions.extend(bench.write());
    (bench, actions)
}

#[test]
fn no_client_hears_of_a_model_before_it_is_judged() {
    let mut bench = at_work(gated(PLAN));
    let stored = train(&mut bench, R1, 1.0);
    assert_eq!((to_evaluate(&stored), serves(&stored)), (vec![1], false));
    let waited = bench.wait(10 * MINUTE);
    assert!(invited(&waited).is_none() && !serves(&waited));
    assert_eq!((phase(&bench), bench.core.view().model.round), (RoundPhase::Finalizing, 0));
    let kept = evaluate(&mut bench, 1, 1.0);
    assert!(serves(&kept) && to_evaluate(&kept).is_empty(), "it is evaluated once");
    let view = Arc::clone(bench.core.view());
    assert_eq!((view.model.round, view.evaluation.map(|of| of.round)), (1, Some(1)));
    assert_eq!(newest(&bench).quality, Some(Quality::of_loss(1.0)));
    let (next, model) = invited(&bench.wait(PLAN.selection_window)).expect("a round");
    assert_eq!((next, model.round), (R2, 1));
}

#[test]
fn a_refused_model_is_rolled_back_with_the_optimizers_state() {
    let momentum = ServerOptimizer::Momentum { learning_rate: 1.0, momentum: 0.5 };
    let settings = TaskSettings { optimizer: momentum, ..gated(PLAN) };
    let mut bench = after_a_kept_round(settings);
    train(&mut bench, R2, 100.0);
    let kept = newest(&bench);
    let refused = evaluate(&mut bench, 2, 9.0);
    let record = newest(&bench);
    let refusal = GateRefusal { round: 2, loss: Some(9.0), limit: Some(1.5), in_a_row: 1 };
    assert_eq!((record.round, record.restored, record.refusal), (3, Some(1), Some(refusal)));
    assert_eq!((record.sha256, record.quality), (kept.sha256, kept.quality));
    let history: Vec<u64> = bench.core.view().history.iter().map(|of| of.round).collect();
    assert_eq!(history, [0, 1, 2, 3]);
    let view = Arc::clone(bench.core.view());
    assert_eq!((view.model.round, view.model.sha256), (3, kept.sha256));
    assert_eq!(view.evaluation.map(|of| of.quality.loss), Some(1.0), "that of the kept model");
    let invitation = invited(&refused).or_else(|| invited(&bench.wait(PLAN.selection_window)));
    let (next, model) = invitation.expect("a round");
    assert_eq!((next, model.sha256), (round(4, 0), kept.sha256));
    // The velocity after the first round was 1, and is now half of that and 1.
    train(&mut bench, next, 1.0);
    assert_eq!(bench.model(), [2.5; 4]);
    evaluate(&mut bench, 4, 1.2);
    assert_eq!(bench.core.view().model.round, 4);
}

#[test]
fn a_model_that_cannot_be_evaluated_is_refused() {
    let mut bench = after_a_kept_round(gated(PLAN));
    train(&mut bench, R2, 100.0);
    bench.handle(Command::NotEvaluated(1));
    assert!(bench.jobs.is_empty(), "that one is not waited for");
    bench.handle(Command::NotEvaluated(2));
    bench.write();
    let refusal = newest(&bench).refusal.expect("a refusal");
    assert_eq!((refusal.round, refusal.loss), (2, None));
    assert_eq!(bench.model(), [1.0; 4]);
}

#[test]
fn a_start_takes_up_a_model_that_was_not_evaluated() {
    let mut bench = after_a_kept_round(gated(PLAN));
    train(&mut bench, R2, 1.0);
    let (mut bench, at_once) = restart(bench);
    assert_eq!(to_evaluate(&at_once), [2]);
    assert_eq!((phase(&bench), bench.core.view().model.round), (RoundPhase::Finalizing, 1));
    bench.join_all(4);
    assert_eq!(bench.core.progress().cohort, 3, "no round begins");
    let kept = evaluate(&mut bench, 2, 1.1);
    assert_eq!(bench.core.view().model.round, 2);
    let (next, model) = invited(&kept).expect("a round");
    assert_eq!((next, model.round), (round(3, 0), 2));
}

#[test]
fn a_start_decides_again_what_a_crash_kept_from_being_done() {
    // Killed after the evaluation, before the roll-back.
    let mut bench = after_a_kept_round(gated(PLAN));
    train(&mut bench, R2, 100.0);
    store_quality(&bench, 2, 9.0);
    let (bench, at_once) = restart(bench);
    assert_eq!(to_evaluate(&at_once), [3], "for the matrix of the kept model");
    let record = newest(&bench);
    let refusal = GateRefusal { round: 2, loss: Some(9.0), limit: Some(1.5), in_a_row: 1 };
    assert_eq!((record.round, record.restored, record.refusal), (3, Some(1), Some(refusal)));
    assert_eq!(bench.model(), [1.0; 4]);
    // Killed after that.
    let (mut bench, _) = restart(bench);
    assert_eq!(newest(&bench), record);
    bench.join_all(3);
    let (next, model) = invited(&bench.wait(PLAN.selection_window)).expect("a round");
    assert_eq!((next, model.sha256), (round(4, 0), record.sha256));
    // Killed after a model was kept.
    train(&mut bench, next, 1.0);
    store_quality(&bench, 4, 1.0);
    let (bench, _) = restart(bench);
    assert_eq!((phase(&bench), bench.core.view().model.round), (RoundPhase::Selecting, 4));
}

#[test]
fn a_first_model_is_judged_though_only_the_newest_is_kept() {
    let mut settings = gated(PLAN);
    settings.checkpoints.last = 1;
    settings.checkpoints.best = false;
    let mut bench = after_a_kept_round(settings);
    train(&mut bench, R2, 100.0);
    let kept = |bench: &Bench| bench.store.storage.checkpoints(&bench.settings.id);
    assert_eq!(kept(&bench).expect("reads"), [0, 1, 2]);
    evaluate(&mut bench, 2, 9.0);
    assert_eq!(bench.model(), [1.0; 4]);
    // A task that had no gate has not kept it.
    let without = TaskSettings { gate: None, ..TaskSettings::clone(&bench.settings) };
    let mut bench = Bench::on(without.clone(), bench.store);
    bench.join_all(3);
    bench.wait(PLAN.selection_window);
    train(&mut bench, round(4, 0), 1.0);
    assert_eq!(kept(&bench).expect("reads"), [0, 4]);
    let with = TaskSettings { gate: Some(GATE), ..without };
    let bench = Bench::on(with, bench.store);
    assert_eq!((phase(&bench), bench.core.view().model.round), (RoundPhase::Selecting, 4));
}

#[test]
fn too_many_refusals_in_a_row_pause_the_task_with_the_reason() {
    let gate = Gate { rollbacks: 2, ..GATE };
    let settings = TaskSettings { gate: Some(gate), ..settings(PLAN) };
    let mut bench = after_a_kept_round(settings);
    let refuse = |bench: &mut Bench, number: u64| {
        train(bench, round(number, 0), 100.0);
        evaluate(bench, number, 9.0);
        bench.wait(PLAN.selection_window);
    };
    refuse(&mut bench, 2);
    assert_eq!(bench.core.view().standing, Standing::Running);
    refuse(&mut bench, 4);
    let is_paused = |bench: &Bench| {
        let view = bench.core.view();
        let reason = "paused by the gate after 2 roll-backs in a row: the held-out loss of round \
                      4 is 9.0000, more than 1.5000";
        assert_eq!(view.health.reason.as_deref(), Some(reason));
        assert_eq!((view.standing, view.progress.phase), (Standing::Paused, RoundPhase::Paused));
        assert_eq!(view.progress.round, round(6, 0));
    };
    is_paused(&bench);
    // The pause and the roll-back are one transaction.
    let (mut bench, _) = restart(bench);
    is_paused(&bench);
    bench.join_all(3);
    drop(bench.request(|id| Command::Operate(Operation::Resume, id)));
    bench.write();
    assert_eq!(bench.core.view().health.reason, None);
    bench.wait(PLAN.selection_window);
    refuse(&mut bench, 6);
    assert_eq!(bench.core.view().standing, Standing::Running, "the count begins anew");
    refuse(&mut bench, 8);
    assert_eq!(bench.core.view().standing, Standing::Paused);
}

#[test]
fn a_roll_back_that_cannot_be_stored_holds_the_task_until_the_operator_acts() {
    let mut bench = after_a_kept_round(gated(PLAN));
    train(&mut bench, R2, 100.0);
    bench.store.refuse(Write::Commit);
    evaluate(&mut bench, 2, 9.0);
    let health = bench.core.view().health.clone();
    assert_eq!(health.state, HealthState::Failing);
    let reason = health.reason.expect("a reason");
    assert!(reason.contains("cannot be restored") && reason.contains("Roll back"), "{reason}");
    assert!(invited(&bench.wait(10 * MINUTE)).is_none());
    bench.store.refuse(None);
    drop(bench.request(|id| Command::RollBack(1, id)));
    bench.write();
    let record = newest(&bench);
    assert_eq!((record.round, record.restored, record.refusal), (3, Some(1), None));
    assert_eq!(bench.core.view().health.reason, None);
    assert_eq!(bench.core.view().history.iter().filter(|of| of.round == 2).count(), 1);
}

#[test]
fn an_operators_roll_back_comes_before_the_gate() {
    let mut bench = after_a_kept_round(gated(PLAN));
    train(&mut bench, R2, 100.0);
    drop(bench.request(|id| Command::RollBack(0, id)));
    bench.write();
    assert_eq!((newest(&bench).round, newest(&bench).restored), (3, Some(0)));
    evaluate(&mut bench, 2, 9.0);
    assert_eq!(newest(&bench).round, 3, "that model is out of the way");
    // Its jobs may also cross.
    bench.wait(PLAN.selection_window);
    train(&mut bench, round(4, 0), 1.0);
    evaluate(&mut bench, 4, 1.0);
    bench.wait(PLAN.selection_window);
    train(&mut bench, round(5, 0), 100.0);
    drop(bench.request(|id| Command::RollBack(0, id)));
    bench.handle(evaluated(5, 9.0));
    bench.write();
    let record = newest(&bench);
    assert_eq!((record.round, record.restored, record.refusal), (6, Some(0), None));
    assert_eq!(bench.core.view().health.reason, None);
}

#[test]
fn a_stop_and_a_pause_while_a_model_is_judged() {
    for operation in [Operation::Pause, Operation::Stop] {
        let mut bench = after_a_kept_round(gated(PLAN));
        train(&mut bench, R2, 100.0);
        drop(bench.request(|id| Command::Operate(operation, id)));
        bench.write();
        evaluate(&mut bench, 2, 9.0);
        assert_eq!((bench.core.view().model.round, bench.model()), (3, vec![1.0; 4]));
        let expected = match operation {
            Operation::Pause => RoundPhase::Paused,
            _ => RoundPhase::Finished,
        };
        assert_eq!(phase(&bench), expected);
    }
}

#[test]
fn a_refusal_gives_up_what_waits_in_the_buffer() {
    let mut bench = Bench::new(gated(RoundPlan { minimum_cohort: 3, ..BUFFERED }));
    bench.join_all(4);
    bench.wait(PLAN.selection_window);
    train(&mut bench, R1, 1.0);
    evaluate(&mut bench, 1, 1.0);
    // The fourth is still at its first invitation; the others have the next.
    (1..=2).for_each(|client| drop(bench.report(client, R2, &[100.0; 4])));
    bench.report(4, R1, &[100.0; 4]);
    let stored = bench.write();
    assert_eq!(to_evaluate(&stored), [2]);
    // Until it is judged, reports count in the open round, and no client is invited.
    let third = bench.report(3, R2, &[7.0; 4]);
    assert_eq!(verdict(&third, 3), Some(UpdateVerdict::Accepted));
    assert!(invited(&bench.wait(PLAN.selection_window)).is_none());
    let mut after = evaluate(&mut bench, 2, 9.0);
    assert_eq!((newest(&bench).round, bench.model()), (3, vec![1.0; 4]));
    after.extend(bench.wait(PLAN.selection_window));
    let (next, model) = invited(&after).expect("a round");
    assert_eq!((next.round, model.sha256), (4, newest(&bench).sha256));
    // What waited in the buffer is not in it.
    train(&mut bench, next, 0.5);
    evaluate(&mut bench, 4, 1.0);
    assert_eq!(bench.model(), [1.5; 4]);
}

#[test]
fn debits_stand_and_the_clipping_norm_goes_back() {
    let central = Mechanism::Central(CentralNoise::Independent);
    let policy = PrivacyPolicy {
        cohort: 3,
        max_participations: 5,
        target_quantile: Some(0.5),
        ..policy(central)
    };
    let plan = RoundPlan { invited: 3, ..PLAN };
    let settings = private_settings(plan, policy, Counting::Subjects);
    let mut bench = at_work(TaskSettings { gate: Some(GATE), ..settings });
    let mut norms = Vec::new();
    for (number, value, loss) in [(1, 0.5, 1.0), (2, 0.5, 9.0)] {
        for client in 1..=3 {
            let contribution = contribution(&bench.settings, &[value; 4], 1);
            let (client, stage) = (ClientId(client), Stage::Update);
            let round = round(number, 0);
            let report = Report { client, round, stage, weight: 1, contribution };
            bench.handle(Command::Report(report));
        }
        bench.write();
        evaluate(&mut bench, number, loss);
        norms.push(bench.core.view().privacy.expect("a budget").clipping_norm);
        bench.wait(PLAN.selection_window);
    }
    let spent = bench.core.view().privacy.expect("a budget");
    assert_eq!((spent.debits, spent.participations), (2, 2), "also that of the refused round");
    let history = &bench.core.view().history;
    assert_ne!(history[2].clipping_norm, history[1].clipping_norm);
    assert_eq!(norms[1].to_bits(), norms[0].to_bits());
    assert_eq!(newest(&bench).clipping_norm, history[1].clipping_norm);
}

/// A task whose clients evaluate after every round of training.
fn judged_by_clients() -> Bench {
    let gate = Gate { source: LossSource::Clients, ..GATE };
    let settings = settings(PLAN);
    let evaluation = ClientEvaluation::new(0.2, 4.0).expect("in range");
    let rounds = EvaluationRounds::new(evaluation, 2, &settings.model, None).expect("no policy");
    let client_evaluation = Some(rounds);
    at_work(TaskSettings { gate: Some(gate), client_evaluation, ..settings })
}

/// The clients' mean loss of the newest model is this, in a round of evaluation.
fn score(bench: &mut Bench, number: u64, loss: f32) {
    for client in 1..=3 {
        let codec = bench.settings.payload(number).codec;
        let update = CheckedUpdate::parse(update_bytes(&[loss]), &codec).expect("sound scores");
        let contribution = Contribution::Update(Received { update, room: Room::unlimited() }, 10);
        let (client, stage) = (ClientId(client), Stage::Update);
        let round = round(number, 0);
        bench.handle(Command::Report(Report { client, round, stage, weight: 10, contribution }));
    }
}

#[test]
fn the_clients_loss_takes_back_every_round_since_their_last_evaluation() {
    let mut bench = judged_by_clients();
    for (number, loss) in [(1, 1.0), (4, 9.0)] {
        for number in number..number + 2 {
            let stored = train(&mut bench, round(number, 0), 1.0);
            assert!(serves(&stored), "it is not held back");
            bench.wait(PLAN.selection_window);
        }
        score(&mut bench, number + 2, loss);
        if loss < 2.0 {
            bench.write();
            assert_eq!(bench.core.view().client_evaluation.map(|of| of.round), Some(3));
            bench.wait(PLAN.selection_window);
        }
    }
    // Killed once the bad result is stored.
    for job in std::mem::take(&mut bench.jobs) {
        bench.writer.work(job, DATE, &mut bench.rng);
    }
    let (bench, _) = restart(bench);
    let record = newest(&bench);
    let refusal = record.refusal.expect("a refusal");
    assert_eq!((record.round, record.restored, refusal.round), (7, Some(3), 6));
    assert_eq!(refusal.limit, Some(1.5));
    assert_eq!(bench.model(), [2.0; 4]);
    let told = |bench: &Bench| bench.core.view().client_evaluation.map(|of| of.round);
    assert_eq!(told(&bench), Some(3));
    let (mut bench, _) = restart(bench);
    assert_eq!(told(&bench), Some(3), "that of the refused model is not the newest");
    bench.join_all(3);
    let (next, model) = invited(&bench.wait(PLAN.selection_window)).expect("a round");
    assert_eq!((next, model.sha256), (round(8, 0), record.sha256));
}
