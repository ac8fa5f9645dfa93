//! Training with SCAFFOLD's correction, and the variate that it leaves behind.

use fedra_aggregation::control;
use fedra_protocol::ClientAlgorithm;

use super::*;

/// Plan of 6 steps.
fn plan(algorithm: ClientAlgorithm) -> LocalTraining {
    let raw = RawLocalTraining { algorithm, epochs: 0, steps: 6, ..RawLocalTraining::default() };
    LocalTraining::new(raw).unwrap()
}

/// Job of a round. `control` is the server's variate, which the client has fetched.
fn job(bench: &Bench, round: u64, control: Option<&[f32]>) -> RoundJob {
    let mut job = bench.job(None, 0.1);
    job.assignment.round.round = round;
    job.assignment.training = plan(ClientAlgorithm::Scaffold);
    job.assignment.control = control.map(|values| {
        let sha256 = Sha256Hash::of(b"control");
        let kept = KeptFile { sha256, head: Bytes::new(), values: Arc::new(values.to_vec()) };
        *bench.local_work.control.borrow_mut() = Some(kept);
        Box::new(ModelRef { round: 1, sha256, ..bench.model.clone() })
    });
    job
}

/// Values of a round's update, and its weight.
async fn update(bench: &Bench, job: RoundJob) -> (Vec<f32>, u64) {
    let codec = job.codec().unwrap();
    let (bytes, weight) = trained(bench.local_work.clone().work(job, |_| {}).await);
    (CheckedUpdate::parse(bytes, &codec).unwrap().to_vec().unwrap(), weight)
}

/// The update of a plan whose gradients have these terms.
fn expected(bench: &Bench, algorithm: ClientAlgorithm, terms: &[f32]) -> Vec<f32> {
    let (start, data) = (init_parameters(&bench.spec, 1), Arc::new(data(784)));
    let trainer = LocalTrainer::new(&bench.spec, &start, data, &plan(algorithm)).unwrap();
    let mut trainer = trainer.with_correction(terms).unwrap();
    while trainer.step().is_some() {}
    let trained = trainer.parameters().unwrap();
    trained.iter().zip(&start).map(|(local, global)| local - global).collect()
}

fn judged(bench: &Bench, round: u64, verdict: UpdateVerdict) {
    let round = RoundId { round, attempt: 0 };
    let outcome = UpdateOutcome { round, verdict, message: String::new() };
    bench.local_work.heard(&ServerMessage::UpdateOutcome(outcome));
}

#[tokio::test]
async fn a_client_trains_with_the_servers_variate_less_its_own() {
    let bench = Bench::new(data(784));
    let (first, weight) = update(&bench, job(&bench, 1, None)).await;
    assert_eq!(weight, 1, "every client counts the same");
    assert!(first == expected(&bench, ClientAlgorithm::Sgd, &[]), "without variates it is SGD");
    judged(&bench, 1, UpdateVerdict::Accepted);

    let server: Vec<f32> = (0..first.len()).map(|at| (at % 5) as f32 / 100.0).collect();
    let own = control::of_client(&[], &first, plan(ClientAlgorithm::Scaffold).reach());
    let terms = control::correction(&server, &own);
    let with_terms = expected(&bench, ClientAlgorithm::Scaffold, &terms);
    assert!(with_terms != first);
    let (second, _) = update(&bench, job(&bench, 2, Some(&server))).await;
    assert!(second == with_terms);
    judged(&bench, 2, UpdateVerdict::Rejected(fedra_protocol::UpdateFault::OutOfRange));
    let (again, _) = update(&bench, job(&bench, 3, Some(&server))).await;
    assert!(again == with_terms, "the variate is that of the first round");
}

#[tokio::test]
async fn a_round_of_evaluation_has_no_correction_and_weighs_as_much() {
    let bench = Bench::new(data(784));
    let mut job = job(&bench, 1, None);
    assert!(job.trains_with_variates());
    job.assignment.evaluates = true;
    assert!(!job.trains_with_variates());
    let learned = Learned { values: vec![0.0; job.values().0], examples: 9 };
    let outgoing = job.protect(learned, &mut fresh_rng().unwrap());
    assert!(matches!(outgoing, Ok(Outgoing::Values(Learned { examples: 1, .. }))));
}

#[tokio::test]
async fn with_a_promise_to_single_examples_the_client_gives_the_round_up() {
    let promise = ExamplePrivacy {
        clipping_norm: ClippingNorm::new(1.0).unwrap(),
        noise_multiplier: NoiseMultiplier::new(1.0).unwrap(),
        delta: Delta::new(1e-5).unwrap(),
    };
    let bench = Bench::with_promise(data(784), Some(promise));
    let done = bench.local_work.clone().work(job(&bench, 1, None), |_| {}).await;
    let error = done.expect_err("it does not train");
    assert!(error.reason.starts_with("example privacy: the algorithm scaffold"), "{error:?}");
}
