//! Tasks with frozen layers, initial files and models by steps: what travels, what is accounted, what stays
//! after a restart, and which files and clients are refused.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use fedra_aggregation::{CheckedUpdate, Codec, UpdateShape};
use fedra_aggregator::config::Config;
use fedra_data::{Dataset, Targets};
use fedra_edge_client::backend::BackendPreference;
use fedra_edge_client::client::{Client, ClientConfig};
use fedra_edge_client::{
    BackendName, ClientEvent, Consent, ParticipationLog, PrivacyConfig, PrivacyFloors,
    ResidualStore, TokenSource, TrainingSlots, Trust,
};
use fedra_learning::{Inference, Weights, evaluate, init_weights, pytorch, safetensors};
use fedra_protocol::{
    Availability, Capabilities, ClientMessage, CodecName, ModelRef, ModelSpec, ModelStep,
    RefusalCode, RoundAssignment, Sha256Hash, SubjectId, TaskDescription, TaskId, UpdateRange,
};
use futures_util::future::{self, Either};
use tempfile::TempDir;

use crate::admin::{TOKEN, admin, operator};
use crate::support::{TestServer, get, soon};

const INPUTS: usize = 64;
/// Weights and biases of the last layer, 256 inputs to 96 outputs.
const LAST: usize = 256 * 96 + 96;

/// A task whose last layer alone is trained; `task` and `tables` are TOML.
fn config(folder: &Path, task: &str, tables: &str) -> Config {
    Config::from_toml(&toml(folder, task, tables)).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn toml(folder: &Path, task: &str, tables: &str) -> String {
    let (store, admin) = (folder.join("store"), admin());
    format!(
        r#"
        [server]
        listen = "127.0.0.1:0"
        store = "{}"
        drain_timeout = "0s"
        {admin}
        [[task]]
        id = "tiny"
        {task}
        [task.model]
        input = [{INPUTS}]
        loss = "softmax_cross_entropy"
        layers = [
            {{ type = "linear", outputs = 256, trainable = false }},
            {{ type = "relu" }},
            {{ type = "linear", outputs = 96 }},
        ]
        [task.round]
        cohort_size = 1
        selection_window = "0s"
        [task.checkpoints]
        last = 1
        best = false
        {tables}
        "#,
        store.display()
    )
}

fn spec() -> ModelSpec {
    config(Path::new("unused"), "", "").tasks[0].settings.model.clone()
}

/// An initial file in PyTorch's names and orientation, of these weights.
fn write_initial(folder: &Path, weights: &Weights) -> String {
    let path = folder.join("pretrained.safetensors");
    fs::write(&path, pytorch::write(&spec(), weights).expect("finite")).expect("writes");
    format!("initial = \"{}\"", path.display())
}

async fn start(folder: &Arc<TempDir>, task: &str, tables: &str) -> TestServer {
    TestServer::start_config(config(folder.path(), task, tables), Arc::clone(folder)).await
}

async fn fetched(server: &TestServer, file: &ModelRef) -> Vec<u8> {
    let answer = get(server.address, &format!("/v1/{}", file.url)).await;
    assert_eq!(answer.status, 200);
    assert_eq!((answer.body.len() as u64, Sha256Hash::of(&answer.body)), (file.bytes, file.sha256));
    answer.body
}

/// The task as a client is told it, and the weights that it fetches.
async fn told(server: &TestServer) -> (TaskDescription, Weights) {
    let checked_in = server.client().await.observe("tiny").await;
    let (task, newest) = (checked_in.task, checked_in.status.model);
    let trained = fetched(server, &newest).await;
    let frozen = fetched(server, task.frozen.as_ref().expect("a frozen part")).await;
    let weights = Weights {
        trained: Arc::new(safetensors::read(&task.model, &trained).expect("a model")),
        frozen: Arc::new(safetensors::read_frozen(&task.model, &frozen).expect("a part")),
    };
    (task, weights)
}

fn examples() -> Dataset {
    let spec = spec();
    let features = (0..INPUTS * 40).map(|i| (i * i % 97) as f32 / 97.0).collect::<Vec<f32>>();
    Dataset::new(features, spec.input(), Targets::Classes((0..40).map(|i| i % 96).collect()))
        .expect("consistent")
}

fn real_client(server: &TestServer) -> Client {
    let config = ClientConfig {
        url: format!("ws://{}/v1/connect", server.address).parse().expect("an address"),
        trust: Trust::default(),
        task: TaskId::new("tiny").expect("valid"),
        token: TokenSource::default(),
        backend: BackendPreference::Auto,
        privacy: PrivacyConfig {
            floors: PrivacyFloors::default(),
            consent: Consent::Granted,
            subject: SubjectId::from_bytes([7; 16]),
            participations: 0,
        },
        example_privacy: None,
        log: ParticipationLog::nowhere(),
        residual: ResidualStore::nowhere(),
        dropouts: None,
    };
    Client::new(config, TrainingSlots::new(1))
}

/// Lets a real client take part until the round is complete; returns its events.
async fn played(server: &TestServer, round: u64) -> (Client, Vec<ClientEvent>) {
    let client = real_client(server);
    let taken = client.set_data(examples().into());
    let mut events = Vec::new();
    {
        let running = std::pin::pin!(client.run(|event| events.push(event)));
        let mut observer = server.client().await;
        let mut status = observer.observe("tiny").await.status;
        let done = std::pin::pin!(async {
            taken.await.expect("fits");
            while status.model.round < round {
                status = observer.status(|_| true).await;
            }
            client.predict(&[0.5; INPUTS]).await.expect("has both files")
        });
        match soon(future::select(running, done)).await {
            Either::Left(_) => panic!("the client ended"),
            Either::Right((outputs, _)) => assert_eq!(outputs.len(), 96),
        }
    }
    (client, events)
}

#[tokio::test]
async fn a_sparse_codec_sends_a_hundredth_of_each_update() {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let server = start(&folder, "codec = \"topk\"", "").await;
    let (_, before) = told(&server).await;
    played(&server, 3).await;
    let (_, after) = told(&server).await;
    let task = server.task().await;
    let history = task["history"].as_array().expect("rounds");
    for round in history {
        assert!(round["bytes_up"].as_u64().expect("bytes") < 4 * LAST as u64 / 50, "{round}");
    }
    let pairs = before.trained.iter().zip(after.trained.iter());
    let changed = pairs.filter(|(before, after)| before != after).count();
    let hundredth = LAST.div_ceil(100);
    // What was too small for one round comes in a later one.
    assert!((hundredth + 1..=history.len() * hundredth).contains(&changed), "{changed}");
    server.stop().await;
}

#[tokio::test]
async fn only_the_last_layer_travels_and_the_frozen_part_is_fetched_once() {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let server = start(&folder, "", "").await;
    let (task, before) = told(&server).await;
    assert_eq!(task.model.parameters(), LAST);
    assert_eq!(before, init_weights(&task.model, 1), "random features of the seed");
    let frozen = task.frozen.expect("a frozen part");
    let (_, events) = played(&server, 3).await;

    let bytes = |round: &serde_json::Value| {
        let [up, down] = ["bytes_up", "bytes_down"].map(|key| round[key].as_u64().expect("bytes"));
        (up, down)
    };
    let task = server.task().await;
    let rounds: Vec<_> = task["history"].as_array().expect("rounds").iter().map(bytes).collect();
    let last = 4 * LAST as u64;
    for (up, _) in &rounds {
        assert!((last..=last * 105 / 100).contains(up), "{up} bytes, the layer has {last}");
    }
    // The first round has the frozen part: the test itself and the client fetched both files.
    assert!(rounds[0].1 >= 2 * (last + frozen.bytes), "{rounds:?}");
    assert!(rounds[1].1 >= last && rounds[1].1 < last + frozen.bytes, "{rounds:?}");

    let told_backend = events.iter().find_map(|event| match event {
        ClientEvent::Backend { backend, reason, .. } if reason.contains("frozen") => Some(*backend),
        _ => None,
    });
    assert_eq!(told_backend, Some(BackendName::Cpu), "{events:?}");
    let (_, after) = told(&server).await;
    assert_eq!(after.frozen, before.frozen, "it stays when older rounds are removed");
    assert_ne!(after.trained, before.trained);
    assert_eq!(task["model"]["frozen"]["sha256"], frozen.sha256.to_string());
    assert_eq!(task["model"]["frozen"]["parameters"], INPUTS * 256 + 256);
    server.stop().await;
}

/// The codec of the steps of a task with `model_codec = "int8"`.
fn int8() -> Codec {
    let range = UpdateRange::default_for(spec().loss());
    let shape = UpdateShape::Values { len: LAST, range };
    Codec::new(Some(CodecName::Int8), shape).expect("of values")
}

#[tokio::test]
async fn a_client_that_has_the_last_model_fetches_the_difference_alone() {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let server = start(&folder, "model_codec = \"int8\"", "").await;
    let (_, events) = played(&server, 3).await;
    let unusable = |event: &&ClientEvent| matches!(event, ClientEvent::Error { .. });
    assert_eq!(events.iter().find(unusable), None);
    let task = server.task().await;
    let down: Vec<u64> = task["history"].as_array().expect("rounds")[..3]
        .iter()
        .map(|round| round["bytes_down"].as_u64().expect("bytes"))
        .collect();
    let (step, model) = (int8().bounds().bytes.most(), 4 * LAST as u64);
    assert!(down[0] < model, "the initial model is drawn: {down:?}");
    // A step, and messages.
    let sparing = step..step + (16 << 10);
    assert!(sparing.end < model / 2);
    assert!(sparing.contains(&down[1]) && sparing.contains(&down[2]), "{down:?}, {step} a step");
    server.stop().await;
}

#[tokio::test]
async fn the_difference_gives_the_file_to_the_bit_and_outlives_a_restart() {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let server = start(&folder, "model_codec = \"int8\"", "").await;
    let (task, initial) = told(&server).await;
    let mut client = server.joined().await;
    let first = client.assignment().await;
    assert!(first.steps.is_empty(), "there is no model before");
    client.report(first.round, &vec![0.125; LAST], 1).await;
    let RoundAssignment { model, steps, .. } = client.assignment().await;
    let [ModelStep { base, file, codec: CodecName::Int8 }] = &*steps else { panic!("{steps:?}") };
    assert_eq!(*base, first.model.sha256);
    let mut parameters = initial.trained.to_vec();
    let received = fetched(&server, file).await;
    let received = CheckedUpdate::parse(received.into(), &int8()).expect("sound");
    received.add_to(&mut parameters).expect("values");
    let written = safetensors::write(&task.model, &parameters).expect("a model");
    assert_eq!(written, fetched(&server, &model).await);
    client.leave().await;
    server.stop().await;

    let server = start(&folder, "model_codec = \"int8\"", "").await;
    fetched(&server, file).await;
    let assignment = server.joined().await.assignment().await;
    assert_eq!((assignment.model, assignment.steps), (model, steps.clone()));
    let answer = get(server.address, &format!("/v1/{}", file.url)).await;
    assert!(answer.header("cache-control").expect("says").contains("immutable"));
    for unknown in
        ["steps/x".to_owned(), format!("steps/{base}"), format!("models/{}", file.sha256)]
    {
        assert_eq!(get(server.address, &format!("/v1/{unknown}")).await.status, 404, "{unknown}");
    }
    server.stop().await;

    // A damaged step is not a damaged model.
    let models = fs::read_dir(folder.path().join("store/models/tiny")).expect("a folder");
    let mut models = models.map(|entry| entry.expect("there").path());
    let damaged = models.find(|path| path.extension().is_some_and(|end| end == "step"));
    fs::write(damaged.expect("a step"), b"damaged").expect("writes");
    let server = start(&folder, "model_codec = \"int8\"", "").await;
    assert_eq!(get(server.address, &format!("/v1/{}", file.url)).await.status, 404);
    assert_eq!(told(&server).await.1.trained.to_vec(), parameters);
    server.stop().await;
}

#[tokio::test]
async fn a_pretrained_file_gives_its_predictions_in_each_form() {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let weights = init_weights(&spec(), 77);
    let at = folder.path().display();
    let mut images = vec![0, 0, 8, 2, 0, 0, 0, 3, 0, 0, 0, INPUTS as u8];
    images.extend((0..3 * INPUTS).map(|i| (i * i) as u8));
    fs::write(folder.path().join("images"), &images).expect("writes");
    let labels = [0, 0, 8, 1, 0, 0, 0, 3, 5, 0, 95];
    fs::write(folder.path().join("labels"), labels).expect("writes");
    let held_out = format!("[task.evaluation]\ndata = \"{at}/images\"\nlabels = \"{at}/labels\"");
    let server = start(&folder, &write_initial(folder.path(), &weights), &held_out).await;
    let (task, begun) = told(&server).await;
    assert_eq!(begun, weights);
    let mut observer = server.client().await;
    let evaluation = match observer.observe("tiny").await.status.evaluation {
        Some(evaluation) => Some(evaluation),
        None => observer.status(|status| status.evaluation.is_some()).await.evaluation,
    };
    let examples = images[12..].iter().map(|&byte| f32::from(byte) / 255.0).collect::<Vec<f32>>();
    let labels = Targets::Classes(vec![5, 0, 95]);
    let examples = Dataset::new(examples, task.model.input(), labels).expect("consistent");
    let expected = evaluate(&task.model, &weights, &examples, 1).expect("finite");
    assert_eq!(evaluation.expect("there is one").quality, expected.quality);
    let features: Vec<f32> = (0..2 * INPUTS).map(|i| i as f32 / 64.0).collect();
    let expected = Inference::new(&spec(), &weights).expect("fits").outputs(features.clone());
    let found = Inference::new(&task.model, &begun).expect("fits").outputs(features.clone());
    assert_eq!(found, expected);

    // What an operator exports is whole, and so are other formats.
    let exported = operator(&server, "GET", "/v1/admin/tasks/tiny/export").await;
    let (whole, values) = safetensors::read_model(&exported.body, None).expect("whole");
    assert_eq!(whole, spec().unfrozen());
    let found = Inference::new(&whole, &values).expect("fits").outputs(features);
    assert_eq!(found, expected);
    let newest = server.task().await["model"]["sha256"].as_str().expect("a hash").to_owned();
    let torch = get(server.address, &format!("/v1/models/{newest}?format=pytorch")).await;
    assert_eq!(torch.body, pytorch::write(&spec(), &weights).expect("finite"));
    let onnx = get(server.address, &format!("/v1/models/{newest}?format=onnx")).await;
    assert_eq!(onnx.status, 200);
    let card = get(server.address, &format!("/v1/models/{newest}/card")).await.json();
    assert_eq!(card["model"]["frozen_parameters"], INPUTS * 256 + 256);
    assert_eq!(card["model"]["layers"][0]["trainable"], "false");
    let frozen = task.frozen.expect("a frozen part").sha256;
    let none = get(server.address, &format!("/v1/models/{frozen}?format=onnx")).await;
    assert_eq!(none.status, 404);
    server.stop().await;
}

#[tokio::test]
async fn the_accountant_has_the_values_of_the_last_layer() {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let tables = "[task.privacy]\npolicy = \"local\"\nnoise_multiplier = 0.05\nclipping_norm = 4.0\n\
                  epsilon = 1e9\ndelta = 1e-5";
    let config = config(folder.path(), "", tables);
    let settings = &config.tasks[0].settings;
    let derived = &settings.privacy.as_ref().expect("a policy").derived;
    let encoding = derived.encoding().expect("an encoding");
    assert_eq!(encoding.parameters(), LAST);
}

#[tokio::test]
async fn a_restart_keeps_the_frozen_part_without_its_file_and_takes_no_other() {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let initial = write_initial(folder.path(), &init_weights(&spec(), 5));
    let server = start(&folder, &initial, "").await;
    let before = told(&server).await;
    server.stop().await;

    // The same file, no file any more, and no key.
    for (keeps_file, task) in [(true, initial.as_str()), (false, initial.as_str()), (false, "")] {
        if !keeps_file {
            let _ = fs::remove_file(folder.path().join("pretrained.safetensors"));
        }
        let server = start(&folder, task, "").await;
        assert_eq!(told(&server).await, before);
        server.stop().await;
    }

    write_initial(folder.path(), &init_weights(&spec(), 6));
    let config = config(folder.path(), &initial, "");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let error = fedra_aggregator::run(config, listener, future::pending::<()>()).await;
    let error = error.expect_err("another frozen part").to_string();
    assert!(error.contains("with another frozen part than that of its initial file"), "{error}");
    assert!(error.contains("another id"), "{error}");

    // Damage of the stored part is named, and nothing is made up for it.
    let models = folder.path().join("store/models/tiny");
    let damaged =
        fs::read_dir(&models).expect("a folder").map(|entry| entry.expect("there").path());
    let is_frozen = |path: &std::path::PathBuf| path.to_string_lossy().contains(".frozen.");
    let damaged = damaged.into_iter().find(is_frozen).expect("a frozen part");
    fs::write(damaged, b"damaged").expect("writes");
    let config = self::config(folder.path(), "", "");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let error = fedra_aggregator::run(config, listener, future::pending::<()>()).await;
    let error = error.expect_err("damaged").to_string();
    assert!(error.contains("damaged"), "{error}");
}

#[test]
fn wrong_files_are_told_before_and_at_the_start() {
    let folder = TempDir::new().expect("a folder");
    let weights = init_weights(&spec(), 1);
    let initial = write_initial(folder.path(), &weights);
    let file = folder.path().join("pretrained.safetensors");
    let config = folder.path().join("fedra.toml");
    fs::write(&config, toml(folder.path(), &initial, "")).expect("writes");
    let run = |command: &str| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_fedra-aggregator"));
        program.args([command, "--config"]).arg(&config).env("FEDRA_ADMIN_TOKEN", TOKEN);
        let output = program.output().expect("runs");
        let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
        (output.status.success(), text)
    };
    let (works, text) = run("check");
    assert!(works, "{text}");
    assert!(text.contains(&format!("{LAST} parameters beside 16640 frozen ones")), "{text}");

    let trained_alone = safetensors::write(&spec(), &weights.trained).expect("finite");
    for (content, problem) in [
        (Some(&b"no model"[..]), "not a safetensors file"),
        (Some(&trained_alone[..]), "tensor layers.0.weight: the file has no"),
        (None, "cannot read"),
    ] {
        match content {
            Some(content) => fs::write(&file, content).expect("writes"),
            None => fs::remove_file(&file).expect("removes"),
        }
        let (works, text) = run("check");
        assert!(!works);
        assert!(text.contains("task[tiny].initial: "), "{text}");
        assert!(text.contains(problem), "{text}");
        let (works, text) = run("serve");
        assert!(!works && text.contains(problem), "{text}");
    }
}

#[tokio::test]
async fn a_client_that_would_train_every_layer_is_refused() {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let server = start(&folder, "", "").await;
    let mut client = server.client().await;
    client.hello().await;
    let old = ClientMessage::CheckIn {
        task: TaskId::new("tiny").expect("valid"),
        availability: Availability::Available,
        subject: None,
        token: None,
        capabilities: Capabilities::version_1(),
    };
    client.send(old).await;
    let (refusal, _) = client.refusal().await;
    assert_eq!(refusal.code, RefusalCode::UnsupportedClient);
    assert!(refusal.message.contains("the setting of a layer trainable"), "{}", refusal.message);
    server.stop().await;
}

#[tokio::test]
async fn a_backup_has_the_frozen_part_and_a_repair_names_a_damaged_one() {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let server = start(&folder, "", "").await;
    played(&server, 2).await;
    let before = told(&server).await;
    let copy = Arc::new(TempDir::new().expect("a folder"));
    let run = |command: &str, folder: &Path, more: &[&str]| {
        let config = folder.join("fedra.toml");
        fs::write(&config, toml(folder, "", "")).expect("writes");
        let mut program = Command::new(env!("CARGO_BIN_EXE_fedra-aggregator"));
        program.args(["store", command, "--config"]).arg(config).args(more);
        let output = program.env("FEDRA_ADMIN_TOKEN", TOKEN).output().expect("runs");
        let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
        (output.status.success(), text)
    };
    // While the server runs.
    let to = copy.path().join("store");
    let (works, text) = run("backup", folder.path(), &["--to", &to.to_string_lossy()]);
    assert!(works, "{text}");
    server.stop().await;
    let server = start(&copy, "", "").await;
    assert_eq!(told(&server).await, before);
    server.stop().await;

    let is_frozen = |path: &std::path::PathBuf| path.to_string_lossy().contains(".frozen.");
    let files = fs::read_dir(to.join("models/tiny")).expect("a folder");
    let frozen = files.map(|file| file.expect("there").path()).find(is_frozen);
    fs::write(frozen.expect("it was copied"), b"damaged").expect("writes");
    for command in ["check", "repair", "check"] {
        let (works, text) = run(command, copy.path(), &[]);
        assert!(!works && text.contains("frozen") && text.contains("backup"), "{command}: {text}");
    }
}
