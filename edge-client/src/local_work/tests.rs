//! A round's work with real training, without a server: the model is there.

mod devices;
mod evaluation;
mod personal;
mod scaffold;
mod steps;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use differential_privacy::{ClippingNorm, Delta, NoiseMultiplier};
use fedra_aggregation::CheckedUpdate;
use fedra_data::Targets;
use fedra_learning::{init_parameters, init_weights};
use fedra_privacy_policy::DerivedPolicy;
use fedra_protocol::layers::Linear;
use fedra_protocol::{
    CentralNoise, CodecName, DataSpec, LocalTraining, Loss, Mechanism, PrivacyPolicy,
    RawLocalTraining, RoundAssignment, RoundId, RoundPrivacy, ServerMessage, TaskId, UpdateOutcome,
    UpdateRange, UpdateVerdict,
};

use super::*;
use crate::codes::{CallFault, EventCode};

const CENTRAL: Mechanism = Mechanism::Central(CentralNoise::Independent);

/// Too large a step: parameters overflow.
const DIVERGES: f32 = f32::MAX;

/// Step so large that the update is beyond what a server takes.
const HUGE: f32 = 1e30;

fn policy(mechanism: Mechanism) -> PrivacyPolicy {
    PrivacyPolicy {
        mechanism,
        noise_multiplier: 1.0,
        clipping_norm: 0.5,
        target_quantile: None,
        epsilon: 50.0,
        delta: 1e-5,
        cohort: 10,
        minimum_survivors: 8,
        colluders: 1,
        max_participations: 1,
    }
}

fn data(features: usize) -> Dataset {
    let pixels: Vec<f32> = (0..20 * features).map(|i| (i % 7) as f32 / 7.0).collect();
    let classes = (0..20).map(|i| i % 10).collect();
    let shape = fedra_protocol::Shape::from_dims(&[features as u32]).unwrap();
    Dataset::new(pixels, shape, Targets::Classes(classes)).unwrap()
}

/// A model without frozen layers.
fn global(spec: ModelSpec, trained: &ModelRef) -> GlobalModel {
    GlobalModel { spec, frozen: None, trained: trained.clone() }
}

struct Bench {
    local_work: Rc<LocalWork>,
    spec: ModelSpec,
    model: ModelRef,
}

fn task(spec: &ModelSpec, mechanism: Option<Mechanism>) -> TaskDescription {
    TaskDescription {
        id: TaskId::new("digits").unwrap(),
        title: "Digits".into(),
        model: spec.clone(),
        update_range: UpdateRange::default_for(spec.loss()),
        data: None,
        client_evaluation: None,
        frozen: None,
        privacy: mechanism.map(policy),
    }
}

impl Bench {
    /// A local_work that has the model and these examples.
    fn new(data: Dataset) -> Self {
        Self::with_promise(data, None)
    }

    /// The same, where single examples are promised something.
    fn with_promise(data: Dataset, examples: Option<ExamplePrivacy>) -> Self {
        Self::with(ModelSpec::softmax_regression(), data, BackendPreference::Cpu, examples)
    }

    fn with(
        spec: ModelSpec,
        data: Dataset,
        preference: BackendPreference,
        examples: Option<ExamplePrivacy>,
    ) -> Self {
        let url = "ws://127.0.0.1:1/v1/connect".parse().unwrap();
        let slots = platform::TrainingSlots::new(1);
        let local_work =
            Rc::new(LocalWork::new(url, Trust::default(), preference, examples, slots));
        let sha256 = Sha256Hash::of(b"model");
        let parameters = Arc::new(init_parameters(&spec, 1));
        let kept = KeptFile { sha256, head: Bytes::new(), values: parameters };
        *local_work.model.borrow_mut() = Some(kept);
        local_work.set_data(data.into(), &task(&spec, None));
        let model = ModelRef { round: 0, sha256, url: "models/x".into(), bytes: 8 };
        Self { local_work, spec, model }
    }

    /// A local_work that has to fetch the model, from a server that hangs up on its
    /// first visitors.
    fn with_server(data: Dataset, hang_ups: usize) -> Self {
        let spec = ModelSpec::softmax_regression();
        let file = safetensors::write(&spec, &init_parameters(&spec, 1)).unwrap();
        let (sha256, bytes) = (Sha256Hash::of(&file), file.len() as u64);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/v1/connect", listener.local_addr().unwrap()).parse().unwrap();
        std::thread::spawn(move || {
            let mut visits = listener.incoming().skip(hang_ups);
            let Some(Ok(mut visitor)) = visits.next() else { return };
            let request = BufReader::new(&visitor).lines();
            let head = request.map_while(Result::ok).take_while(|line| !line.is_empty());
            assert!(head.count() > 0, "asks");
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n");
            visitor.write_all(head.as_bytes()).expect("listens");
            visitor.write_all(&file).expect("listens");
        });
        let slots = platform::TrainingSlots::new(1);
        let local_work =
            Rc::new(LocalWork::new(url, Trust::default(), BackendPreference::Cpu, None, slots));
        local_work.set_data(data.into(), &task(&spec, None));
        let model = ModelRef { round: 0, sha256, url: "models/x".into(), bytes };
        Self { local_work, spec, model }
    }

    fn job(&self, mechanism: Option<Mechanism>, learning_rate: f32) -> RoundJob {
        let privacy = mechanism.map(|mechanism| {
            Arc::new(DerivedPolicy::new(policy(mechanism), self.spec.parameters()).unwrap())
        });
        let terms = RoundPrivacy { clipping_norm: 0.5, rotation: [1; 32] };
        RoundJob {
            task: Arc::new(task(&self.spec, mechanism)),
            assignment: RoundAssignment {
                round: RoundId { round: 1, attempt: 0 },
                model: self.model.clone(),
                training: LocalTraining::new(RawLocalTraining {
                    epochs: 2,
                    learning_rate,
                    ..RawLocalTraining::default()
                })
                .unwrap(),
                deadline: Duration::from_secs(60),
                max_staleness: 0,
                privacy: privacy.is_some().then_some(terms),
                codec: None,
                evaluates: false,
                steps: Box::default(),
                drawn: None,
                control: None,
            },
            privacy,
        }
    }

    /// Cost for the examples that a training reports.
    async fn costs(&self) -> Vec<ExampleTerms> {
        let (news, told) = std::sync::mpsc::channel();
        let tell = move |item| news.send(item).expect("the test listens");
        let job = self.job(None, 0.1);
        self.local_work.clone().work(job, tell).await.expect("trains");
        let cost = |item| match item {
            News::ExamplesSpent(terms) => Some(terms),
            _ => None,
        };
        told.try_iter().filter_map(cost).collect()
    }

    /// Does a round's work; also the codes of the problems that the owner hears of.
    async fn work(
        &self,
        mechanism: Option<Mechanism>,
        learning_rate: f32,
    ) -> (Result<Done, WorkError>, Vec<EventCode>) {
        let job = self.job(mechanism, learning_rate);
        let (news, told) = std::sync::mpsc::channel();
        let tell = move |item| news.send(item).expect("the test listens");
        let done = self.local_work.clone().work(job, tell).await;
        let problem = |item| match item {
            News::Tell(ClientEvent::Error { code, .. }) => Some(code),
            _ => None,
        };
        (done, told.try_iter().filter_map(problem).collect())
    }
}

#[track_caller]
fn trained(done: Result<Done, WorkError>) -> (Bytes, u64) {
    match done {
        Ok(Done::Trained { update, examples }) => (update, examples),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn without_a_policy_the_weight_is_the_number_of_examples() {
    let bench = Bench::new(data(784));
    let (update, examples) = trained(bench.work(None, 0.1).await.0);
    assert_eq!((update.len(), examples), (4 * bench.spec.parameters(), 20));
}

/// Does a job whose assignment names a codec.
async fn work_in(
    bench: &Bench,
    mechanism: Option<Mechanism>,
    name: CodecName,
) -> Result<Done, WorkError> {
    let mut job = bench.job(mechanism, 0.1);
    job.assignment.codec = Some(name);
    bench.local_work.clone().work(job, |_| {}).await
}

#[tokio::test]
async fn an_update_leaves_in_the_codec_that_the_assignment_names() {
    for mechanism in [None, Some(CENTRAL)] {
        let bench = Bench::new(data(784));
        let mut job = bench.job(mechanism, 0.1);
        let (full, examples) = trained(work_in(&bench, mechanism, CodecName::F32).await);
        assert_eq!(trained(bench.work(mechanism, 0.1).await.0).0, full, "it is the standard");
        let half = trained(work_in(&bench, mechanism, CodecName::F16).await);
        let exact = CheckedUpdate::parse(full, &job.codec().unwrap()).unwrap().to_vec().unwrap();
        job.assignment.codec = Some(CodecName::F16);
        let codec = job.codec().unwrap();
        assert_eq!(half.1, examples);
        assert_eq!(half.0, codec.values().unwrap().encode(&exact, &[0; 32]));
        assert_eq!(half.0.len(), 2 * bench.spec.parameters());
        let read = CheckedUpdate::parse(half.0, &codec).unwrap().to_vec().unwrap();
        assert!(read.iter().any(|value| *value != 0.0));
    }
}

#[tokio::test]
async fn what_a_sparse_codec_has_not_sent_is_in_the_next_update() {
    let topk = CodecName::named("topk").unwrap();
    for mechanism in [None, Some(CENTRAL)] {
        let bench = Bench::new(data(784));
        let mut job = bench.job(mechanism, 0.1);
        job.assignment.codec = Some(topk);
        let codec = job.codec().unwrap();
        let in_round = async |round| {
            let mut job = bench.job(mechanism, 0.1);
            job.assignment.codec = Some(topk);
            job.assignment.round.round = round;
            let done = bench.local_work.clone().work(job, |_| {}).await;
            let checked = CheckedUpdate::parse(trained(done).0, &codec).unwrap();
            checked.to_vec().unwrap()
        };
        let first = in_round(1).await;
        assert_eq!(in_round(2).await, first, "the first was not accepted");
        let verdict = UpdateVerdict::Accepted;
        let round = RoundId { round: 2, attempt: 0 };
        let outcome = UpdateOutcome { round, verdict, message: String::new() };
        bench.local_work.heard(&ServerMessage::UpdateOutcome(outcome));
        let third = in_round(3).await;
        assert_ne!(third, first, "what was sent is smaller now than the rest");
        let sent = |values: &[f32]| values.iter().filter(|value| **value != 0.0).count();
        assert!(sent(&first) <= 79 && sent(&third) <= 79, "a hundredth of 7850");
    }
}

#[tokio::test]
async fn a_codec_that_is_not_for_the_tasks_updates_fails_before_training() {
    let bench = Bench::new(data(784));
    for (mechanism, name) in [
        (None, CodecName::Packed),
        (Some(CENTRAL), CodecName::Packed),
        (Some(Mechanism::Local), CodecName::F16),
        (Some(Mechanism::Distributed), CodecName::F32),
    ] {
        let error = work_in(&bench, mechanism, name).await.expect_err("no update has this form");
        assert_eq!(error.failure, Failure::PrivacyFailed);
        assert!(error.reason.contains("does not fit the task: the codec"), "{}", error.reason);
    }
}

#[tokio::test]
async fn a_server_that_is_away_for_a_moment_does_not_cost_the_round() {
    let there = Bench::new(data(784));
    let away = Bench::with_server(data(784), 2);
    let expected = trained(there.work(None, 0.1).await.0);
    assert_eq!(trained(away.work(None, 0.1).await.0), expected);
}

#[tokio::test]
async fn a_server_that_stays_away_does() {
    let mut bench = Bench::new(data(784));
    // Another one than the local_work has, and no server is there.
    bench.model.sha256 = Sha256Hash::of(b"another");
    let error = bench.work(None, 0.1).await.0.expect_err("there is no model");
    assert_eq!(error.failure, Failure::ModelUnavailable);
}

#[tokio::test]
async fn without_a_policy_training_that_fails_fails() {
    let bench = Bench::new(data(784));
    let error = bench.work(None, DIVERGES).await.0.expect_err("it diverges");
    assert_eq!(error.failure, Failure::TrainingDiverged);
    let error = bench.work(None, HUGE).await.0.expect_err("it is beyond the task's range");
    assert_eq!(error.failure, Failure::OutOfRange);
    let bench = Bench::new(data(16));
    let error = bench.work(None, 0.1).await.0.expect_err("the data do not fit");
    assert_eq!(error.failure, Failure::BadDataset);
}

#[tokio::test]
async fn data_are_trained_on_as_long_as_the_task_describes_them_as_they_were_read() {
    let bench = Bench::new(data(784));
    let task = task(&bench.spec, None);
    bench.local_work.set_data(LocalData::read(data(784), None), &task);
    trained(bench.work(None, 0.1).await.0);
    let other = r#"{ "kind": "array", "shape": [784], "dtype": "uint8", "min": 0, "max": 100 }"#;
    let mut job = bench.job(None, 0.1);
    Arc::make_mut(&mut job.task).data =
        Some(serde_json::from_str::<DataSpec>(other).unwrap().encoded());
    let error = bench.local_work.clone().work(job, |_| {}).await.expect_err("the scale is another");
    assert_eq!(error.failure, Failure::BadDataset);
    assert!(error.reason.ends_with("give the data again"), "{}", error.reason);
}

#[tokio::test]
async fn a_central_policy_takes_the_update_as_it_is_with_everybodys_weight() {
    let bench = Bench::new(data(784));
    let (plain, _) = trained(bench.work(None, 0.1).await.0);
    let (update, examples) = trained(bench.work(Some(CENTRAL), 0.1).await.0);
    assert_eq!((update, examples), (plain, 1));
}

#[tokio::test]
async fn a_promise_to_examples_is_kept_and_its_cost_adds_up() {
    let promise = ExamplePrivacy {
        clipping_norm: ClippingNorm::new(1.0).unwrap(),
        noise_multiplier: NoiseMultiplier::new(2.0).unwrap(),
        delta: Delta::new(1e-5).unwrap(),
    };
    let bench = Bench::with_promise(data(784), Some(promise));
    let costs = bench.costs().await;
    let again = bench.costs().await;
    let ([first], [second]) = (costs.as_slice(), again.as_slice()) else {
        panic!("told once a training: {costs:?} {again:?}");
    };
    assert!(first.epsilon > 0.0 && second.epsilon > first.epsilon, "{first:?} {second:?}");
    assert_eq!(second.delta, 1e-5);
    let (one, _) = trained(bench.work(None, 0.1).await.0);
    let (other, _) = trained(bench.work(None, 0.1).await.0);
    assert_ne!(one, other, "noise and samples are fresh in every training");
}

#[tokio::test]
async fn a_prediction_does_not_wait_for_ever_for_its_model() {
    // Takes connections and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/v1/connect", silent.local_addr().unwrap()).parse().unwrap();
    let slots = platform::TrainingSlots::new(1);
    let local_work = LocalWork::new(url, Trust::default(), BackendPreference::Cpu, None, slots);
    let Bench { spec, model, .. } = Bench::new(data(784));
    let limit = Duration::from_millis(50);
    let error =
        local_work.weights_within(limit, &global(spec, &model)).await.expect_err("it is silent");
    assert_eq!(error.failure, Failure::ModelUnavailable);
    assert!(error.reason.contains("not here after"), "{}", error.reason);
}

#[tokio::test]
async fn a_prediction_that_fails_leaves_the_client_as_it_was() {
    let Bench { local_work, spec, model } = Bench::new(data(784));
    let known = global(spec.clone(), &model);
    let mut outputs = Vec::new();
    for length in [0, 783, 785] {
        let features = vec![0.5; length];
        let refused = local_work.predict(&known, &features[..], &mut outputs).await;
        assert_eq!(refused.map_err(|error| error.code), Err(CallFault::BadFeatures.into()));
    }
    // A model that no server has: the next call does not wait for it.
    let absent = global(spec, &ModelRef { sha256: Sha256Hash::of(b"absent"), ..model });
    let features = vec![0.5; 2 * 784];
    let refused = local_work.predict(&absent, &features[..], &mut outputs).await;
    assert_eq!(refused.map_err(|error| error.code), Err(Failure::ModelUnavailable.into()));
    local_work.predict(&known, &features[..], &mut outputs).await.expect("it has the model");
    assert_eq!(outputs.len(), 20);
}

#[tokio::test]
async fn the_frozen_part_is_fetched_once_and_held_against_its_hash() {
    let layers = vec![Linear { outputs: 3 }.into(), Linear { outputs: 2 }.into()];
    let spec = ModelSpec::new(&[4], layers, Loss::MeanSquaredError).unwrap();
    let spec = spec.with_frozen(&[0]).unwrap();
    let weights = init_weights(&spec, 1);
    let trained = safetensors::write(&spec, &weights.trained).unwrap();
    let frozen = safetensors::write_frozen(&spec, &weights.frozen).unwrap();
    let reference = |name: &str, file: &[u8]| ModelRef {
        round: 0,
        sha256: Sha256Hash::of(file),
        url: format!("models/{name}"),
        bytes: file.len() as u64,
    };
    let model = GlobalModel {
        spec,
        frozen: Some(reference("frozen", &frozen)),
        trained: reference("trained", &trained),
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/v1/connect", listener.local_addr().unwrap()).parse().unwrap();
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = asked.clone();
    std::thread::spawn(move || {
        for visitor in listener.incoming() {
            let mut visitor = visitor.expect("a visitor");
            let mut lines = BufReader::new(&visitor).lines().map_while(Result::ok);
            let request = lines.next().expect("asks");
            assert!(lines.take_while(|line| !line.is_empty()).count() > 0);
            let is_frozen = request.contains("frozen");
            seen.lock().expect("no panic").push(is_frozen);
            let file = if is_frozen { &frozen } else { &trained };
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", file.len());
            visitor.write_all(head.as_bytes()).expect("listens");
            visitor.write_all(file).expect("listens");
        }
    });
    let slots = platform::TrainingSlots::new(1);
    let local_work = LocalWork::new(url, Trust::default(), BackendPreference::Cpu, None, slots);
    let fetch = |model: GlobalModel| {
        let local_work = &local_work;
        async move { local_work.weights(&model, &|_| {}).await }
    };
    assert_eq!(fetch(model.clone()).await.expect("both are there"), weights);
    // The next round has another model, and the same frozen part.
    local_work.model.take();
    assert_eq!(fetch(model.clone()).await.expect("both are there"), weights);
    assert_eq!(*asked.lock().expect("no panic"), [true, false, false]);
    let other = ModelRef { sha256: Sha256Hash::of(b"another"), ..model.frozen.clone().unwrap() };
    let error =
        fetch(GlobalModel { frozen: Some(other), ..model }).await.expect_err("another hash");
    assert_eq!(error.failure, Failure::ModelUnavailable);
    assert!(error.reason.contains("its hash is"), "{}", error.reason);
}

#[tokio::test]
async fn a_huge_update_is_shrunk_to_what_a_server_takes() {
    let bench = Bench::new(data(784));
    let (update, examples) = trained(bench.work(Some(CENTRAL), HUGE).await.0);
    let (values, _) = update.as_chunks::<4>();
    let largest = values.iter().map(|v| f32::from_le_bytes(*v).abs()).fold(0.0, f32::max);
    let most = bench.job(Some(CENTRAL), HUGE).task.update_range.magnitude();
    assert!((0.01..=most).contains(&largest) && examples == 1, "{largest}");
}

#[tokio::test]
async fn without_a_policy_an_update_beyond_the_range_is_not_sent() {
    let bench = Bench::new(data(784));
    let mut job = bench.job(None, 1e4);
    let told = format!("beyond the ±{} of this task", job.task.update_range.magnitude());
    let error = bench.local_work.clone().work(job, |_| {}).await.expect_err("no server takes it");
    assert_eq!(error.failure, Failure::OutOfRange);
    assert!(error.reason.contains(&told), "{}", error.reason);
    job = bench.job(None, 1e4);
    Arc::make_mut(&mut job.task).update_range = UpdateRange::new(1 << 24).unwrap();
    assert!(bench.local_work.clone().work(job, |_| {}).await.is_ok(), "the range is the task's");
}

#[tokio::test]
async fn under_a_policy_training_that_fails_gives_an_update_of_zeros() {
    for (bench, rate, failure) in [
        (Bench::new(data(784)), DIVERGES, Failure::TrainingDiverged),
        (Bench::new(data(16)), 0.1, Failure::BadDataset),
    ] {
        let (done, told) = bench.work(Some(CENTRAL), rate).await;
        let (update, examples) = trained(done);
        assert_eq!(update.len(), 4 * bench.spec.parameters());
        assert!(update.iter().all(|byte| *byte == 0) && examples == 1);
        assert_eq!(told, [failure.into()], "the owner hears of it");
        for mechanism in [Mechanism::Distributed, Mechanism::Local] {
            assert!(bench.work(Some(mechanism), rate).await.0.is_ok(), "{mechanism:?} {failure:?}");
        }
    }
}

#[tokio::test]
async fn an_update_that_overflows_is_sent_as_zeros_under_a_central_policy() {
    let bench = Bench::new(data(784));
    let mut values = vec![1.0; bench.spec.parameters()];
    values[3] = f32::INFINITY;
    let learned = Learned { values, examples: 20 };
    let job = bench.job(Some(CENTRAL), 0.1);
    match job.protect(learned, &mut fresh_rng().unwrap()).unwrap() {
        Outgoing::Values(Learned { values, examples: 1 }) => {
            assert!(values.iter().all(|value| *value == 0.0));
        }
        _ => panic!("values of weight 1 were expected"),
    }
}

#[tokio::test]
async fn a_round_without_the_terms_of_the_policy_sends_nothing() {
    let bench = Bench::new(data(784));
    let mut job = bench.job(Some(CENTRAL), 0.1);
    job.assignment.privacy = None;
    let error = bench.local_work.clone().work(job, |_| {}).await.expect_err("no terms");
    assert_eq!(error.failure, Failure::PrivacyFailed);
}

#[tokio::test]
async fn a_local_policy_sends_the_encoded_update_with_everybodys_weight() {
    let bench = Bench::new(data(784));
    let (update, examples) = trained(bench.work(Some(Mechanism::Local), 0.1).await.0);
    let codec = bench.job(Some(Mechanism::Local), 0.1).codec().unwrap();
    assert!(codec.bounds().bytes.admits(update.len() as u64));
    assert_eq!(examples, 1);
}

#[tokio::test]
async fn under_secure_aggregation_only_keys_come_out_and_each_step_works_once() {
    let bench = Bench::new(data(784));
    let first = bench.work(Some(Mechanism::Distributed), 0.1).await.0;
    let Ok(Done::Secured(SecureReply::Keys(first))) = first else { panic!("{first:?}") };
    let again = bench.work(Some(Mechanism::Distributed), 0.1).await.0;
    let Ok(Done::Secured(SecureReply::Keys(again))) = again else { panic!("{again:?}") };
    assert_ne!(first, again, "keys are fresh in every round");

    // A request that its state cannot answer, and one when there is no state.
    for _ in 0..2 {
        let request = SecureRequest::Unmask(vec![0, 1, 2]);
        let error = bench.local_work.clone().secure(request).await.expect_err("out of turn");
        assert_eq!(error.failure, Failure::SecureAggregationFailed);
    }
}

#[tokio::test]
async fn a_round_that_is_forgotten_has_no_next_step() {
    let bench = Bench::new(data(784));
    bench.work(Some(Mechanism::Distributed), 0.1).await.0.expect("keys");
    bench.local_work.forget_round();
    assert!(bench.local_work.secure.borrow().is_none());
    let error = bench.local_work.clone().secure(SecureRequest::Mask(Vec::new())).await;
    assert_eq!(error.expect_err("nothing is left").failure, Failure::SecureAggregationFailed);
}
