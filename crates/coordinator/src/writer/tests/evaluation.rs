//! Rounds in which the clients evaluate: their mean is recorded, and the model stays.

use fedra_protocol::{CentralNoise, ClientEvaluation, Loss, PrivacyPolicy, Scores};

use super::*;
use crate::fixtures::update_bytes;
use crate::settings::EvaluationRounds;

/// Every second round is one of evaluation.
fn evaluating(settings: TaskSettings) -> TaskSettings {
    let evaluation = ClientEvaluation::new(0.2, 4.0).expect("in range");
    let rounds = EvaluationRounds::new(evaluation, 1, &settings.model, settings.privacy.as_ref());
    TaskSettings { client_evaluation: Some(rounds.expect("a sound policy")), ..settings }
}

fn central(noise_multiplier: f64) -> TaskSettings {
    let policy = policy(Mechanism::Central(CentralNoise::Independent));
    let policy = PrivacyPolicy { noise_multiplier, ..policy };
    evaluating(private_settings(PLAN, policy, Counting::Rounds))
}

/// Contribution of a client to a round of evaluation in the clear.
fn scores(bench: &Bench, values: &[f32], weight: u64) -> Contribution {
    let codec = bench.settings.payload(2).codec;
    let update = CheckedUpdate::parse(update_bytes(values), &codec).expect("sound scores");
    Contribution::Update(Received { update, room: Room::unlimited() }, weight)
}

#[test]
fn the_scores_are_a_weighted_mean_and_the_model_stays() {
    let mut bench = Bench::new(evaluating(settings(PLAN)));
    assert_eq!(bench.settings.model.loss(), Loss::MeanSquaredError);
    let trained = bench.round_of(R1, &[1.0, 2.0, 3.0, 4.0]);
    bench.open(R2);
    for (client, loss, examples) in [(1, 4.0, 1), (2, 1.0, 3)] {
        let contribution = scores(&bench, &[loss], examples);
        assert_eq!(bench.fold(client, contribution), None);
    }
    let (_, made) = bench.finalize(R2);
    let made = made.expect("a record");
    let quality = made.record.client_quality.expect("a round of evaluation");
    assert!((quality.loss - 1.75).abs() < 1e-6, "{quality:?}");
    assert!((quality.rmse.expect("of squares") - 1.75_f64.sqrt()).abs() < 1e-6);
    assert_eq!((quality.accuracy, made.record.quality), (None, None));
    assert_eq!(*made.parameters, trained, "nothing was trained");
    assert_eq!(bench.rounds(), [0, 1, 2]);
    // Training goes on from there, also after a restart.
    let mut bench = bench.restarted();
    let next = bench.round_of(round(3, 0), &[1.0; PARAMETERS]);
    assert_eq!(next, [2.0, 3.0, 4.0, 5.0]);
}

#[test]
fn the_optimizer_does_not_move_in_a_round_of_evaluation() {
    let momentum = ServerOptimizer::Momentum { learning_rate: 1.0, momentum: 0.5 };
    let with = |settings| TaskSettings { optimizer: momentum.clone(), ..settings };
    let mut plain = Bench::new(with(settings(PLAN)));
    let mut evaluated = Bench::new(with(evaluating(settings(PLAN))));
    for bench in [&mut plain, &mut evaluated] {
        bench.round_of(R1, &[1.0; PARAMETERS]);
    }
    evaluated.open(R2);
    let contribution = scores(&evaluated, &[1.0], 1);
    assert_eq!(evaluated.fold(1, contribution), None);
    evaluated.finalize(R2).1.expect("a record");
    let next = plain.round_of(R2, &[1.0; PARAMETERS]);
    assert_eq!(evaluated.round_of(round(3, 0), &[1.0; PARAMETERS]), next);
}

#[test]
fn an_update_in_a_round_of_evaluation_is_left_out() {
    let mut bench = Bench::new(evaluating(settings(PLAN)));
    bench.round_of(R1, &ZERO);
    bench.open(R2);
    let update = contribution(&bench.settings, &[1.0; PARAMETERS], 1);
    assert_eq!(bench.fold(1, update), Some(UpdateFault::OutOfRange));
    let contribution = scores(&bench, &[0.5], 1);
    assert_eq!(bench.fold(2, contribution), None);
    let (_, made) = bench.finalize(R2);
    assert_eq!(made.expect("a record").record.client_quality.map(|of| of.loss), Some(0.5));
}

#[test]
fn under_a_policy_they_are_paid_for_as_an_update_is_and_the_clipping_norm_stays() {
    let mut bench = Bench::new(central(0.01));
    bench.round_of(R1, &ZERO);
    let expected = Scores { loss: 1.5, accuracy: None };
    bench.open(R2);
    for client in [1, 2] {
        let contribution = scores(&bench, &expected.protected(4.0), 1);
        assert_eq!(bench.fold(client, contribution), None);
    }
    let (debit, made) = bench.finalize(R2);
    let privacy = bench.settings.privacy.as_ref().expect("a policy");
    let debit = debit.expect("it is due");
    assert_eq!(debit.rho.to_bits(), privacy.derived.cost(1).value().to_bits());
    assert_eq!(bench.debits().last(), Some(&debit));
    let record = made.expect("a record").record;
    let loss = record.client_quality.expect("a round of evaluation").loss;
    assert!((loss - 1.5).abs() < 0.2, "{loss}");
    assert_eq!(record.clipping_norm, Some(2.0), "that of updates");
}

#[test]
fn the_server_adds_its_noise_to_scores_too() {
    let loss = |secret| {
        let mut bench = Bench::from(central(5.0), &ZERO, secret);
        bench.round_of(R1, &ZERO);
        bench.open(R2);
        let contribution = scores(&bench, &[0.0], 1);
        assert_eq!(bench.fold(1, contribution), None);
        let (_, made) = bench.finalize(R2);
        made.expect("a record").record.client_quality.expect("scores").loss
    };
    let losses: Vec<f64> = (0..8).map(|secret| loss([secret; 32])).collect();
    assert!(losses.iter().all(|loss| (0.0..=4.0).contains(loss)), "{losses:?}");
    assert!(losses.iter().any(|loss| (loss - losses[0]).abs() > 1e-3), "{losses:?}");
}
