//! Central and local privacy policies: clipping, noise, and what is paid when.

use differential_privacy::ClippingNorm;
use fedra_protocol::{BandedNoise, CentralNoise, PrivacyPolicy};
use fedra_secure_aggregation::pack;

use super::*;

const INDEPENDENT: Mechanism = Mechanism::Central(CentralNoise::Independent);
const TREE: Mechanism = Mechanism::Central(CentralNoise::Tree { rounds: 4 });
const BANDED: Mechanism = Mechanism::Central(CentralNoise::Banded(BandedNoise {
    rounds: 4,
    separation: 2,
    band: 3,
    exponent: 80,
}));

fn under(policy: PrivacyPolicy) -> TaskSettings {
    private_settings(PLAN, policy, Counting::Rounds)
}

fn central(mechanism: Mechanism) -> Bench {
    Bench::new(under(policy(mechanism)))
}

/// Settings with noise that shows.
fn noisy(mechanism: Mechanism) -> TaskSettings {
    under(PrivacyPolicy { noise_multiplier: 1.0, ..policy(mechanism) })
}

/// Parameters that an attempt at a round without a single signal makes: noise.
fn noise(bench: &mut Bench, attempt: RoundId) -> Vec<f32> {
    let made = bench.round_of(attempt, &ZERO);
    assert!(made.iter().any(|value| value.abs() > 1e-3), "{made:?}");
    made
}

#[test]
fn a_central_policy_clips_each_update_and_takes_the_plain_mean() {
    let mut bench = central(INDEPENDENT);
    bench.open(R1);
    // Weights do not count, and the second is longer than the clipping norm of 2.
    bench.add(1, &[0.0, 1.0, 0.0, 0.0], 1);
    bench.add(2, &[60.0, 0.0, 0.0, 0.0], 1);
    assert_near(&bench.model(R1), &[1.0, 0.5, 0.0, 0.0], 0.1);
}

#[test]
fn a_central_policy_pays_when_the_round_is_finalized() {
    let mut bench = central(INDEPENDENT);
    bench.open(round(1, 3));
    bench.add(1, &[1.0; 4], 1);
    bench.add(2, &[1.0; 4], 1);
    assert_eq!(bench.debits(), [], "nothing was released yet");
    let (debit, model) = bench.finalize(round(1, 3));
    let debit = debit.expect("it is due");
    let privacy = bench.settings.privacy.as_ref().expect("a policy");
    assert_eq!((debit.round, debit.attempt, debit.unix_seconds), (1, 3, NOON));
    assert_eq!(debit.rho.to_bits(), privacy.derived.cost(1).value().to_bits());
    assert_eq!(debit.subjects, [subject(1), subject(2)], "those who have contributed");
    assert_eq!(bench.debits(), [debit]);
    assert_eq!(model.expect("a model").record.clipping_norm, Some(2.0));
}

#[test]
fn a_round_that_cannot_be_paid_for_makes_no_model() {
    let mut bench = central(INDEPENDENT);
    bench.open(R1);
    bench.add(1, &[1.0; 4], 1);
    bench.store.refuse(Write::Debit);
    let (debit, model) = bench.finalize(R1);
    assert_eq!(debit, None);
    assert!(matches!(model, Err(WriterError::Store(_))));
    assert_eq!((bench.debits(), bench.rounds()), (Vec::new(), vec![0]));
    bench.store.refuse(None);
    assert_near(&bench.round_of(round(1, 1), &[1.0, 0.0, 0.0, 0.0]), &[1.0, 0.0, 0.0, 0.0], 0.2);
}

#[test]
fn a_debit_stands_although_its_model_is_not_stored() {
    let mut bench = central(INDEPENDENT);
    bench.open(R1);
    bench.add(1, &[1.0; 4], 1);
    bench.store.refuse(Write::Commit);
    let (debit, model) = bench.finalize(R1);
    assert!(model.is_err());
    assert_eq!(bench.debits(), [debit.expect("it was paid")]);
}

#[test]
fn a_private_contribution_of_another_kind_or_length_is_left_out_and_pays_nothing() {
    let mut bench = central(INDEPENDENT);
    bench.open(R1);
    bench.add(1, &[1.0, 0.0, 0.0, 0.0], 1);
    let short = contribution(&bench.settings, &[1.0; 3], 1);
    assert_eq!(bench.fold(2, short), Some(UpdateFault::OutOfRange));
    assert_eq!(bench.fold(3, encoded(vec![0; 16])), Some(UpdateFault::OutOfRange));
    let (debit, model) = bench.finalize(R1);
    assert_eq!(debit.expect("it is due").subjects, [subject(1)]);
    assert_near(&model.expect("a model").parameters, &[1.0, 0.0, 0.0, 0.0], 0.2);
}

#[test]
fn a_private_round_without_its_numbers_makes_no_model() {
    let mut bench = central(INDEPENDENT);
    assert!(bench.work(WriterJob::Open(R1, None)).is_empty());
    let plain = contribution(&bench.settings, &[1.0; 4], 1);
    assert_eq!(bench.fold(1, plain), None);
    let error = bench.finalize(R1).1.expect_err("it would have no noise");
    assert!(matches!(error, WriterError::Sum(SumError::NoNumbers)), "{error}");
    assert_eq!(bench.rounds(), [0]);

    let mut bench = Bench::new(under(policy(Mechanism::Local)));
    bench.work(WriterJob::Open(R1, None));
    let (_, result) = bench.advance(R1, Stage::Update, &[1]);
    assert!(matches!(result, Err(WriterError::Sum(SumError::NoNumbers))));
    assert_eq!(bench.debits(), [], "nobody is invited");
}

#[test]
fn noise_is_the_same_after_a_restart() {
    for mechanism in [INDEPENDENT, TREE, BANDED] {
        let made = noise(&mut Bench::new(noisy(mechanism)), R1);
        let mut crashed = Bench::new(noisy(mechanism));
        crashed.open(R1);
        crashed.add(1, &ZERO, 1);
        let mut restarted = crashed.restarted();
        assert_eq!(noise(&mut restarted, R1), made, "{mechanism:?}");
        let other = noise(&mut Bench::from(noisy(mechanism), &ZERO, [2; 32]), R1);
        assert_ne!(other, made, "it is the secret's: {mechanism:?}");
    }
}

#[test]
fn independent_noise_is_fresh_in_each_attempt_and_round() {
    let attempts =
        [0, 1].map(|attempt| noise(&mut Bench::new(noisy(INDEPENDENT)), round(1, attempt)));
    assert_ne!(attempts[0], attempts[1]);
    let mut bench = Bench::new(noisy(INDEPENDENT));
    let first = noise(&mut bench, R1);
    let second: Vec<f32> =
        noise(&mut bench, R2).iter().zip(&first).map(|(sum, first)| sum - first).collect();
    assert_ne!(first, second);
}

#[test]
fn noise_that_goes_on_is_that_of_its_round_in_any_attempt() {
    for mechanism in [TREE, BANDED] {
        let attempt = |attempt| noise(&mut Bench::new(noisy(mechanism)), round(1, attempt));
        assert_eq!(attempt(0), attempt(1), "{mechanism:?}");
    }
}

#[test]
fn there_is_no_noise_for_a_round_after_the_last() {
    for mechanism in [TREE, BANDED] {
        let mut bench = Bench::new(noisy(mechanism));
        for number in 1..=4 {
            bench.round_of(round(number, 0), &ZERO);
        }
        bench.open(round(5, 0));
        bench.add(1, &ZERO, 1);
        let error = bench.finalize(round(5, 0)).1.expect_err("there are four steps");
        let is_step = matches!(error, WriterError::Sum(SumError::Finish(FinishError::Step(_))));
        assert!(is_step, "{error}");
    }
}

#[test]
fn a_secret_that_cannot_be_stored_keeps_a_central_task_from_starting() {
    let start = |settings: TaskSettings| {
        let store = FlakyStore::with(&settings, &ZERO);
        store.refuse(Write::Secret);
        writer(&Arc::new(settings), &store, &ZERO, [1; 32]).map(drop)
    };
    assert!(start(noisy(INDEPENDENT)).is_err());
    assert!(start(settings(PLAN)).is_ok(), "it has no noise");
    assert!(start(under(policy(Mechanism::Local))).is_ok(), "its clients have");
}

#[test]
fn an_adaptive_clipping_norm_follows_the_updates() {
    let next = |values: &[f32]| {
        let adaptive = PrivacyPolicy { target_quantile: Some(0.5), ..policy(INDEPENDENT) };
        let mut bench = Bench::new(under(adaptive));
        bench.open(R1);
        for client in 1..=5 {
            bench.add(client, values, 1);
        }
        let record = bench.finalize(R1).1.expect("a model").record;
        record.clipping_norm.expect("under a policy")
    };
    assert!(next(&[0.1; 4]) < 2.0, "all were within it");
    assert!(next(&[9.0; 4]) > 2.0, "all were beyond it");
}

/// Contribution of a client under a local policy.
fn protected(bench: &mut Bench, values: &[f32]) -> Contribution {
    let numbers = bench.numbers().expect("a policy");
    let privacy = bench.settings.privacy.as_ref().expect("a policy");
    let encoding = privacy.derived.encoding().expect("clients encode");
    let clip = ClippingNorm::new(numbers.clipping_norm).expect("a sound norm");
    let words = encoding.encode(values, clip, &numbers.rotation, &mut bench.rng);
    encoded(pack(&words.expect("a sound update"), encoding.bits()))
}

#[test]
fn a_local_policy_adds_up_what_clients_have_encoded() {
    let mut bench = Bench::new(under(policy(Mechanism::Local)));
    bench.open(R1);
    let updates = [[1.0, 0.0, 0.0, 0.5], [0.0, 1.0, 0.0, 0.5], [0.0, 0.0, 1.0, 0.5]];
    for (client, values) in (1..).zip(updates) {
        let protected = protected(&mut bench, &values);
        assert_eq!(bench.fold(client, protected), None);
    }
    let third = 1.0 / 3.0;
    assert_near(&bench.model(R1), &[third, third, third, 0.5], 0.2);
}

#[test]
fn a_local_policy_pays_before_anybody_is_invited() {
    let mut bench = Bench::new(under(policy(Mechanism::Local)));
    bench.open(R1);
    let prepared = bench.advance(R1, Stage::Update, &[1, 2]).1.expect("a sound store");
    let debit = prepared.debit.expect("it is due");
    assert_eq!(debit.subjects, [subject(1), subject(2)]);
    assert_eq!(bench.debits(), [debit]);
    let protected = protected(&mut bench, &[1.0, 0.0, 0.0, 0.0]);
    bench.fold(1, protected);
    let (debit, model) = bench.finalize(R1);
    assert!(debit.is_none() && model.is_ok(), "it was paid for already");
    assert_eq!(bench.debits().len(), 1);
}

#[test]
fn a_local_round_that_cannot_be_paid_for_is_not_prepared() {
    let mut bench = Bench::new(under(policy(Mechanism::Local)));
    bench.open(R1);
    bench.store.refuse(Write::Debit);
    let (_, result) = bench.advance(R1, Stage::Update, &[1]);
    assert!(matches!(result, Err(WriterError::Store(_))));
    assert_eq!(bench.debits(), []);
}

#[test]
fn an_encoded_update_of_another_length_is_left_out() {
    let mut bench = Bench::new(under(policy(Mechanism::Local)));
    bench.open(R1);
    let sound = protected(&mut bench, &[1.0, 0.0, 0.0, 0.0]);
    bench.fold(1, sound);
    assert_eq!(bench.fold(2, encoded(vec![1; 3])), Some(UpdateFault::OutOfRange));
    let plain = contribution(&bench.settings, &[1.0; 4], 1);
    assert_eq!(bench.fold(3, plain), Some(UpdateFault::OutOfRange));
    assert_near(&bench.model(R1), &[1.0, 0.0, 0.0, 0.0], 0.3);
}
