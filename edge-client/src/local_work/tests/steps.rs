//! Models by the steps from the last one, and whole where that fails.

use std::collections::HashMap;
use std::sync::Mutex;

use fedra_aggregation::Step;
use fedra_aggregation::codec::{Codec, UpdateShape};
use fedra_protocol::{DrawnModel, ModelStep};

use super::*;

/// Files by their addresses.
type Files = HashMap<String, Vec<u8>>;

/// Models of a task in rounds 0 to 2, and the steps between them, on a server.
struct Server {
    bench: Bench,
    models: [(ModelRef, Vec<f32>); 3],
    steps: Vec<ModelStep>,
    /// The initial model, of round 0.
    drawn: DrawnModel,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// A server whose files `spoil` may change.
    fn new(spoil: impl FnOnce(&mut Files)) -> Self {
        let spec = ModelSpec::softmax_regression();
        let range = UpdateRange::default_for(spec.loss());
        let shape = UpdateShape::Values { len: spec.parameters(), range };
        let codec = Codec::new(Some(CodecName::Int4), shape).unwrap();
        let mut files = Files::new();
        let mut add = |address: &str, round, file: Vec<u8>| {
            let (sha256, bytes) = (Sha256Hash::of(&file), file.len() as u64);
            files.insert(address.to_owned(), file);
            ModelRef { round, sha256, url: address.to_owned(), bytes }
        };
        let mut model = |round: u64, values: &[f32]| {
            add(&format!("models/{round}"), round, safetensors::write(&spec, values).unwrap())
        };
        let (mut values, mut residual) = (init_parameters(&spec, 1), Vec::new());
        let mut models = vec![(model(0, &values), values.clone())];
        let mut made = Vec::new();
        for round in 1..=2 {
            let wanted: Vec<f32> = values.iter().map(|value| value * 0.9 + 0.01).collect();
            let (form, seed) = (codec.values().unwrap(), [round; 32]);
            let step = Step::towards(&wanted, &values, &residual, form, range.magnitude(), &seed);
            let Step { bytes, parameters, residual: left } = step.unwrap();
            made.push(bytes);
            (values, residual) = (parameters, left);
            models.push((model(round.into(), &values), values.clone()));
        }
        let step = |(round, bytes): (u64, Vec<u8>)| ModelStep {
            base: models[round as usize].0.sha256,
            file: add(&format!("steps/{round}"), round + 1, bytes),
            codec: CodecName::Int4,
        };
        let steps = (0..).zip(made).map(step).collect();
        let head = Bytes::copy_from_slice(safetensors::head(&spec, &files["models/0"]));
        let drawn = DrawnModel { sha256: models[0].0.sha256, seed: 1, head };
        spoil(&mut files);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/v1/connect", listener.local_addr().unwrap()).parse().unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let seen = asked.clone();
        std::thread::spawn(move || {
            for visitor in listener.incoming() {
                let mut visitor = visitor.expect("a visitor");
                let mut lines = BufReader::new(&visitor).lines().map_while(Result::ok);
                let request = lines.next().expect("asks");
                assert!(lines.take_while(|line| !line.is_empty()).count() > 0);
                let path = request.split(' ').nth(1).and_then(|path| path.strip_prefix("/v1/"));
                let path = path.expect("a path below /v1").to_owned();
                let (status, file) = match files.get(&path) {
                    Some(file) => ("200 OK", file.as_slice()),
                    None => ("404 Not Found", &[][..]),
                };
                seen.lock().expect("no panic").push(path);
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", file.len());
                visitor.write_all(head.as_bytes()).expect("listens");
                visitor.write_all(file).expect("listens");
            }
        });
        let slots = platform::TrainingSlots::new(1);
        let local_work = LocalWork::new(url, Trust::default(), BackendPreference::Cpu, None, slots);
        let local_work = Rc::new(local_work);
        local_work.set_data(data(784).into(), &task(&spec, None));
        let models: [_; 3] = models.try_into().expect("three models");
        let bench = Bench { local_work, spec, model: models[2].0.clone() };
        Self { bench, models, steps, drawn, asked }
    }

    /// The client has the model of this round.
    fn has(self, round: usize) -> Self {
        let (ModelRef { sha256, .. }, values) = &self.models[round];
        let file = safetensors::write(&self.bench.spec, values).unwrap();
        let head = Bytes::copy_from_slice(safetensors::head(&self.bench.spec, &file));
        let kept = KeptFile { sha256: *sha256, head, values: Arc::new(values.clone()) };
        *self.bench.local_work.model.borrow_mut() = Some(kept);
        self
    }

    /// Fetches the newest model: what was asked for, the bytes, and the notices.
    async fn fetch(&self) -> (Vec<String>, u64, Vec<String>) {
        self.fetch_round(2, None).await
    }

    /// Fetches the model of a round, which `drawn` may lead to.
    async fn fetch_round(
        &self,
        round: usize,
        drawn: Option<DrawnModel>,
    ) -> (Vec<String>, u64, Vec<String>) {
        let mut job = self.bench.job(None, 0.1);
        job.assignment.steps = self.steps.iter().take(round).cloned().collect();
        job.assignment.model = self.models[round].0.clone();
        job.assignment.drawn = drawn.map(Box::new);
        let (fetched, notices) = (RefCell::new(0), RefCell::new(Vec::new()));
        let tell = |news| match news {
            News::Fetched(bytes) => *fetched.borrow_mut() += bytes,
            News::Tell(ClientEvent::Error { code, message, fatal: false }) => {
                assert_eq!(code, EventCode::from(Notice::StepUnusable));
                notices.borrow_mut().push(message);
            }
            other => panic!("{other:?}"),
        };
        let (weights, _) = self.bench.local_work.starting_model(&job, &tell).await.unwrap();
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&weights.trained), bits(&self.models[round].1), "to the bit");
        let asked = std::mem::take(&mut *self.asked.lock().expect("no panic"));
        (asked, fetched.into_inner(), notices.into_inner())
    }

    fn bytes(&self, steps: &[usize]) -> u64 {
        steps.iter().map(|at| self.steps[*at].file.bytes).sum()
    }
}

#[tokio::test]
async fn a_client_that_has_the_model_before_fetches_the_step_alone() {
    let server = Server::new(|_| {}).has(1);
    let bytes = server.bytes(&[1]);
    assert!(bytes < server.bench.model.bytes / 7, "{bytes}");
    assert_eq!(server.fetch().await, (vec!["steps/1".into()], bytes, vec![]));
    assert_eq!(server.fetch().await, (vec![], 0, vec![]), "it has the model");
}

#[tokio::test]
async fn one_that_is_two_rounds_behind_fetches_two_steps() {
    let server = Server::new(|_| {}).has(0);
    let bytes = server.bytes(&[0, 1]);
    let asked = vec!["steps/0".into(), "steps/1".into()];
    assert_eq!(server.fetch().await, (asked, bytes, vec![]));
}

#[tokio::test]
async fn one_without_a_model_draws_the_initial_one_and_fetches_the_steps_from_it() {
    let server = Server::new(|_| {});
    let drawn = Some(server.drawn.clone());
    assert_eq!(server.fetch_round(0, drawn.clone()).await, (vec![], 0, vec![]), "the first round");
    let server = Server::new(|_| {});
    let (steps, bytes) = (vec!["steps/0".to_owned(), "steps/1".to_owned()], server.bytes(&[0, 1]));
    assert_eq!(server.fetch_round(2, drawn.clone()).await, (steps, bytes, vec![]));
    let server = Server::new(|_| {}).has(1);
    let (steps, bytes) = (vec!["steps/1".to_owned()], server.bytes(&[1]));
    assert_eq!(server.fetch_round(2, drawn).await, (steps, bytes, vec![]), "it has a newer one");
}

#[tokio::test]
async fn an_initial_model_of_another_seed_costs_one_fetch_of_the_whole() {
    let server = Server::new(|_| {});
    let drawn = DrawnModel { seed: 2, ..server.drawn.clone() };
    let (asked, bytes, notices) = server.fetch_round(0, Some(drawn)).await;
    assert_eq!((asked, bytes), (vec!["models/0".to_owned()], server.models[0].0.bytes));
    let [notice] = notices.as_slice() else { panic!("{notices:?}") };
    assert!(notice.contains("not "), "{notice}");
}

#[tokio::test]
async fn one_without_a_model_of_the_chain_fetches_the_model() {
    let server = Server::new(|_| {});
    let whole = |server: &Server| (vec!["models/2".to_owned()], server.bench.model.bytes, vec![]);
    assert_eq!(server.fetch().await, whole(&server));
    let mut server = Server::new(|_| {}).has(0);
    server.steps.remove(0);
    assert_eq!(server.fetch().await, whole(&server));
    let mut server = Server::new(|_| {}).has(1);
    server.steps[1].file.bytes = server.bench.model.bytes;
    assert_eq!(server.fetch().await, whole(&server), "the step is as long");
}

#[tokio::test]
async fn a_step_that_is_gone_or_damaged_costs_one_request_and_the_model_is_fetched() {
    let gone = |files: &mut Files| drop(files.remove("steps/1"));
    let cut = |files: &mut Files| files.get_mut("steps/1").unwrap().truncate(100);
    let changed =
        |files: &mut Files| *files.get_mut("steps/1").unwrap().last_mut().unwrap() ^= 0x55;
    for (server, expected) in [
        (Server::new(gone), "404"),
        (Server::new(cut), "is not a step of this model"),
        (Server::new(changed), "a model with the hash"),
    ] {
        let server = server.has(1);
        let (asked, _, notices) = server.fetch().await;
        assert_eq!(asked, ["steps/1", "models/2"], "{expected}");
        let [notice] = notices.as_slice() else { panic!("{notices:?}") };
        assert!(notice.contains(expected) && notice.contains("whole model"), "{notice}");
    }
}
