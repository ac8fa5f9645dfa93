//! Whole experiments: the same to the bit for every number of threads, beside real sockets,
//! and when taken up again; what a wrong file is told.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use fedra_aggregator::config::Config;
use fedra_coordinator::storage::Storage;
use fedra_edge_client::backend::BackendPreference;
use fedra_edge_client::client::{Client, ClientConfig};
use fedra_edge_client::{
    ClientEvent, Consent, ParticipationLog, PrivacyConfig, PrivacyFloors, ResidualStore,
    TokenSource, TrainingSlots, Trust,
};
use fedra_experiments::{Attack, Experiment, Keep, Kind, Outcome, report::Header, study};
use fedra_protocol::{SubjectId, TaskId};
use futures_channel::mpsc;
use futures_util::{StreamExt, future};
use tempfile::TempDir;

const INPUTS: usize = 8;
const CLASSES: usize = 4;
const EXAMPLES: usize = 240;

/// Images of one row whose class is where they are bright, as IDX files.
fn write_examples(folder: &Path) {
    let mut images = vec![0, 0, 8, 2, 0, 0, 0, EXAMPLES as u8, 0, 0, 0, INPUTS as u8];
    let mut labels = vec![0, 0, 8, 1, 0, 0, 0, EXAMPLES as u8];
    for example in 0..EXAMPLES {
        let class = example * 7 % CLASSES;
        let bright = |input: usize| input / (INPUTS / CLASSES) == class;
        let noise = |input: usize| (example * 31 + input * 17) as u8 % 120;
        images.extend((0..INPUTS).map(|i| if bright(i) { 135 + noise(i) } else { noise(i) }));
        labels.push(class as u8);
    }
    fs::write(folder.join("images"), images).unwrap();
    fs::write(folder.join("labels"), labels).unwrap();
}

/// The task; `tables` is more of it.
fn task(rounds: u64, tables: &str) -> String {
    format!(
        r#"
        title = "Bright places"
        rounds = {rounds}
        [task.model]
        input = [{INPUTS}]
        loss = "softmax_cross_entropy"
        layers = [{{ type = "linear", outputs = 12 }}, {{ type = "relu" }}, {{ type = "linear", outputs = {CLASSES} }}]
        [task.training]
        learning_rate = 0.5
        batch_size = 4
        [task.evaluation]
        data = "images"
        labels = "labels"
        {tables}
        "#
    )
}

/// An experiment in a folder with examples; `more` is TOML of `[simulation]` and other tables.
fn experiment(folder: &Path, more: &str, task: &str) -> Experiment {
    let text = format!(
        "[simulation]\nclients = 12\n{more}\n[data]\npath = \"images\"\nlabels = \"labels\"\n\
         partition = {{ kind = \"dirichlet\", alpha = 1.0 }}\n[task]\n{task}"
    );
    Experiment::from_toml(&text, folder).unwrap_or_else(|error| panic!("{error}"))
}

fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    write_examples(folder.path());
    folder
}

fn run(experiment: &Experiment) -> Outcome {
    let outcome = experiment.run(&Storage::in_memory(), |_| ControlFlow::Continue(()));
    outcome.unwrap_or_else(|error| panic!("{error}"))
}

/// The same task with SCAFFOLD, by so many steps.
fn with_scaffold(task: &str, steps: u32) -> String {
    let keys = format!("algorithm = \"scaffold\"\npopulation = 12\nsteps = {steps}");
    task.replace("batch_size = 4", &format!("batch_size = 4\n{keys}"))
}

const EVERYONE: &str = "[task.round]\ncohort_size = 12\nminimum_cohort = 12\nminimum_reports = 12";

const SMALL_COHORTS: &str =
    "[task.round]\ncohort_size = 4\nminimum_cohort = 4\nminimum_reports = 2\nreport_goal = 3";

#[test]
fn a_seed_is_one_result_for_every_number_of_threads() {
    let folder = folder();
    let more = "[devices]\nspeed = { kind = \"pareto\", fastest = 500.0, exponent = 1.2 }\n\
                upload_mbit = 1.0\nlatency = \"20ms\"\nonline = \"30s\"\noffline = \"10s\"\n\
                dropout = 0.1";
    let of = |seed: u64, threads: usize| {
        let more = format!("seed = {seed}\nthreads = {threads}\n{more}");
        run(&experiment(folder.path(), &more, &task(12, SMALL_COHORTS)))
    };
    let (one, three) = (of(1, 1), of(1, 3));
    assert_eq!(one.model, three.model);
    let figures = |outcome: &Outcome| {
        let round = |of: &fedra_experiments::Round| (of.record.clone(), of.at, of.quality);
        outcome.rounds.iter().map(round).collect::<Vec<_>>()
    };
    assert_eq!(figures(&one), figures(&three));
    assert_eq!(one.rounds.len(), 12);
    assert!(one.rounds.iter().all(|round| (2..=4).contains(&round.record.reports)));
    assert!(one.rounds.is_sorted_by_key(|round| round.at));
    assert!(one.rounds[0].at > Duration::from_millis(20), "devices take their time");
    assert_ne!(one.model, of(2, 1).model);
    let quality = one.rounds.last().unwrap().quality.unwrap();
    assert!(quality.accuracy > Some(0.9), "{quality:?}");
}

const EXAMPLE_PRIVACY: &str =
    "[example_privacy]\nnoise_multiplier = 1.0\nclipping_norm = 1.0\ndelta = 1e-5";

#[test]
fn clients_train_with_dp_sgd_and_its_cost_is_told() {
    let folder = folder();
    let everyone = task(3, "[task.round]\ncohort_size = 12");
    let private = run(&experiment(folder.path(), EXAMPLE_PRIVACY, &everyone));
    let plain = run(&experiment(folder.path(), "", &everyone));
    assert_ne!(private.model, plain.model);
    assert!(plain.rounds.iter().all(|round| round.epsilon.is_none()));
    let spent: Vec<f64> = private.rounds.iter().map(|round| round.epsilon.unwrap()).collect();
    assert!(spent[0] > 0.0 && spent[0] < spent[1] && spent[1] < spent[2], "{spent:?}");
    let louder = EXAMPLE_PRIVACY.replace("multiplier = 1.0", "multiplier = 4.0");
    let louder = run(&experiment(folder.path(), &louder, &everyone));
    assert!(louder.rounds[2].epsilon.unwrap() < spent[0], "{spent:?}");
}

#[test]
fn the_page_of_a_study_has_epsilon_if_a_run_has() {
    let folder = folder();
    let private = "{ noise_multiplier = 1.0, clipping_norm = 1.0, delta = 1e-5 }";
    let table = |variants: &str| {
        let task = task(1, "[task.round]\ncohort_size = 12").replace("[task", "[base.task");
        let text = format!(
            "title = \"T\"\nseeds = [1]\n{variants}\n[base.simulation]\nclients = 12\n\
             [base.data]\npath = \"images\"\nlabels = \"labels\"\n\
             partition = {{ kind = \"iid\" }}\n[base.task]\n{task}"
        );
        let file = folder.path().join("study.toml");
        fs::write(&file, text).unwrap();
        let page = study::study(&file, folder.path(), &folder.path().join("kept"), folder.path());
        let page = fs::read_to_string(page.unwrap_or_else(|error| panic!("{error}"))).unwrap();
        let rows = page.lines().filter(|line| line.starts_with('|'));
        let cells = |row: &str| row.split('|').map(|cell| cell.trim().to_owned()).collect();
        rows.map(cells).collect::<Vec<Vec<String>>>()
    };
    let plain = "{ name = \"plain\" }";
    let with = table(&format!(
        "variant = [{plain}, {{ name = \"private\", set = {{ example_privacy = {private} }} }}]"
    ));
    assert_eq!(with[0][2], "epsilon", "columns that say nothing are left out");
    assert_eq!((&*with[2][1], &*with[2][2]), ("plain", "none"));
    assert!(with[3][2].parse::<f64>().unwrap() > 0.0, "{with:?}");
    let without = table(&format!("variant = [{plain}]"));
    assert_eq!(without[0][2], "accuracy");
    assert!(with.iter().all(|row| row.len() == with[0].len()), "{with:?}");
    assert!(without.iter().all(|row| row.len() + 1 == with[0].len()), "{without:?}");
}

#[test]
fn a_client_that_has_the_last_model_is_sent_the_step_alone() {
    let folder = folder();
    let everyone = "[task.round]\ncohort_size = 12";
    let of = |key: &str| {
        let task = format!("{key}{}", task(6, everyone));
        let rounds = run(&experiment(folder.path(), "seed = 1", &task)).rounds;
        rounds.into_iter().map(|round| round.record).collect::<Vec<_>>()
    };
    let (whole, steps) = (of(""), of("model_codec = \"int8\"\n"));
    // The initial model is drawn. For that an assignment has the beginning of its file.
    let drawn = steps[0].bytes_down + 12 * whole[0].model_bytes - whole[0].bytes_down;
    assert!((0..12 * 1024).contains(&drawn), "{drawn}");
    for (whole, stepped) in whole.iter().zip(&steps).skip(1) {
        let step = steps[0].step.expect("a step").bytes;
        let saved = 12 * (whole.model_bytes - step);
        // The assignments are longer by what they say of up to five steps.
        let more = stepped.bytes_down + saved - whole.bytes_down;
        assert!((0..drawn + 12 * 5 * 160).contains(&more), "{more}, {whole:?}");
    }
}

#[test]
fn an_experiment_that_is_taken_up_again_ends_with_the_same_model() {
    let folder = folder();
    // Rounds that wait for their whole cohort: a straggler of the round before is not there
    // when its next cohort is selected, and after a start it is.
    let tables = "[task.round]\ncohort_size = 4\nminimum_cohort = 4\nminimum_reports = 4";
    let whole = experiment(folder.path(), "", &task(9, tables));
    let expected = run(&whole);
    let store = folder.path().join("store");
    let stop_at = |last: u64| {
        let storage = fedra_aggregator::storage::open(&store).unwrap();
        whole.run(&storage, |round| match round.record.round >= last {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
    };
    // The store has another round by then, which was made while this one was evaluated.
    let first = stop_at(4).unwrap();
    assert_eq!(first.rounds.len(), 4);
    let rest = stop_at(9).unwrap();
    assert_eq!(rest.model, expected.model);
    assert_eq!(rest.rounds.last().unwrap().record.round, 9);
}

#[test]
fn every_policy_and_mode_makes_its_rounds() {
    let folder = folder();
    let policy = |name: &str, more: &str| {
        format!(
            "[task.round]\ncohort_size = 12\nminimum_cohort = 12\nminimum_reports = 10\n\
             report_goal = 12\n[task.privacy]\npolicy = \"{name}\"\nnoise_multiplier = 0.3\n\
             clipping_norm = 2.0\nepsilon = 1e6\ndelta = 1e-5\n{more}"
        )
    };
    let buffered_policy = |name: &str, more: &str| {
        let round = "[task.round]\nmode = \"buffered\"\ncohort_size = 6\nreport_goal = 3\n\
                     minimum_cohort = 3\nminimum_reports = 2\n";
        let policy = policy(name, more);
        let (_, privacy) = policy.split_once("[task.privacy]").unwrap();
        format!("{round}[task.privacy]{privacy}")
    };
    for (name, tables) in [
        ("masks", policy("distributed", "")),
        ("noise of the server", policy("central", "noise = \"independent\"")),
        ("noise of the clients", policy("local", "")),
        ("buffered", "[task.round]\nmode = \"buffered\"\ncohort_size = 6\nreport_goal = 3\nminimum_cohort = 3\nminimum_reports = 1".to_owned()),
        ("buffered, noise of the server", buffered_policy("central", "noise = \"independent\"")),
        ("buffered, noise along a tree", buffered_policy("central", "max_participations = 3")),
        ("buffered, masks in groups", buffered_policy("distributed", "")),
        ("evaluation by clients", "[task.round]\ncohort_size = 12\n[task.client_evaluation]\nevery = 2\nheld_out = 0.2\nloss_bound = 4.0".to_owned()),
    ] {
        let outcome = run(&experiment(folder.path(), "", &task(4, &tables)));
        assert_eq!(outcome.rounds.len(), 4, "{name}");
        let epsilon = outcome.rounds[3].epsilon;
        assert_eq!(epsilon.is_some(), tables.contains("policy"), "{name}");
        assert!(outcome.rounds.iter().all(|round| round.record.bytes_up > 0), "{name}");
    }
}

#[test]
fn every_codec_learns_with_fewer_bytes() {
    let folder = folder();
    let all = "[task.round]\ncohort_size = 12\nminimum_cohort = 12\nminimum_reports = 12";
    let of = |codec: &str| {
        let keys = format!("rounds = 20\n{codec}");
        let outcome =
            run(&experiment(folder.path(), "", &task(20, all).replace("rounds = 20", &keys)));
        let accuracy = outcome.rounds.last().unwrap().quality.unwrap().accuracy.unwrap();
        let bytes = outcome.rounds.iter().map(|round| round.record.bytes_up).sum::<u64>();
        assert!(accuracy > 0.9, "{codec}: {accuracy}");
        bytes
    };
    let plain = of("");
    for codec in ["f16", "int8", "int4", "eden2", "eden1", "topk", "stc"] {
        let share = if matches!(codec, "topk" | "stc") { "codec_share = 0.1" } else { "" };
        let bytes = of(&format!("codec = \"{codec}\"\n{share}"));
        assert!(bytes < plain, "{codec}: {bytes} of {plain}");
    }
}

/// Clients with one class each, who take many steps by themselves.
#[test]
fn scaffold_follows_all_clients_where_plain_sgd_drifts_apart() {
    let folder = folder();
    let of = |task: &str| {
        let text = format!(
            "[simulation]\nclients = 12\n[data]\npath = \"images\"\nlabels = \"labels\"\n\
             partition = {{ kind = \"labels\", per_client = 1 }}\n[task]\n{task}"
        );
        let experiment = Experiment::from_toml(&text, folder.path());
        let outcome = run(&experiment.unwrap_or_else(|error| panic!("{error}")));
        let records: Vec<_> = outcome.rounds.iter().map(|round| &round.record).collect();
        let variates = records.iter().filter(|record| record.control.is_some()).count();
        (outcome.rounds.last().unwrap().quality.unwrap(), variates)
    };
    let task = task(15, SMALL_COHORTS);
    let plain = task.replace("batch_size = 4", "batch_size = 4\nsteps = 30");
    let ((sgd, none), (scaffold, variates)) = (of(&plain), of(&with_scaffold(&task, 30)));
    assert_eq!((none, variates), (0, 15));
    assert!(scaffold.loss < sgd.loss, "{scaffold:?} {sgd:?}");
}

#[test]
fn what_an_experiment_with_scaffold_cannot_do_is_refused() {
    let folder = folder();
    let task = with_scaffold(&task(3, EVERYONE), 8);
    let text = |more: &str, task: &str| {
        format!(
            "[simulation]\nclients = 12\n{more}\n[data]\npath = \"images\"\nlabels = \"labels\"\n\
             partition = {{ kind = \"iid\" }}\n[task]\n{task}"
        )
    };
    let more = task.replace("population = 12", "population = 13");
    for (text, expected) in [
        (text("", &more), "task.training.population is 13, and there are 12 clients"),
        (text(EXAMPLE_PRIVACY, &task), "example_privacy would have its noise carried"),
    ] {
        let error = Experiment::from_toml(&text, folder.path()).expect_err("refused").to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let experiment = Experiment::from_toml(&text("", &task), folder.path()).unwrap();
    let header = Header::of(&experiment, "");
    let out = folder.path().join("out");
    let stored = experiment.record(&header, Keep::Store(&out), |_| ControlFlow::Continue(()));
    let error = stored.map(drop).expect_err("refused").to_string();
    assert!(error.contains("cannot be taken up again"), "{error}");
}

#[test]
fn attackers_change_the_model_and_the_target_ends_the_run() {
    let folder = folder();
    let all = "[task.round]\ncohort_size = 12\nminimum_cohort = 12\nminimum_reports = 12";
    let honest = run(&experiment(folder.path(), "target = 0.9", &task(60, all)));
    assert!(honest.reached && honest.rounds.len() < 60);
    let attack = |kind: &str| {
        let more = format!("target = 0.9\n[[attack]]\nclients = 5\n{kind}");
        run(&experiment(folder.path(), &more, &task(honest.rounds.len() as u64, all)))
    };
    let quality = |outcome: &Outcome| outcome.rounds.last().unwrap().quality.unwrap().loss;
    for kind in [
        "kind = \"sign_flip\"",
        "kind = \"label_flip\"",
        "kind = \"noise\"\nscale = 5.0",
        "kind = \"collude\"\nnorm = 20.0",
    ] {
        assert!(quality(&attack(kind)) > quality(&honest), "{kind}");
    }
}

#[test]
fn a_gate_takes_back_what_attackers_spoil_and_pauses_a_task_that_they_own() {
    let folder = folder();
    let of = |attackers: u32, threads: usize, gate: &str| {
        let more = format!(
            "threads = {threads}\n[[attack]]\nclients = {attackers}\nkind = \"collude\"\nnorm = 20.0"
        );
        let round = "[task.round]\ncohort_size = 4\nminimum_cohort = 4\nminimum_reports = 4";
        experiment(folder.path(), &more, &task(40, &format!("{round}\n{gate}")))
    };
    let gate = "[task.gate]\nloss_increase = 0.2\nrollbacks = 100";
    let gated = of(2, 1, gate);
    let (open, kept, threads) = (run(&of(2, 1, "")), run(&gated), run(&of(2, 3, gate)));
    assert_eq!(kept.model, threads.model);
    let records: Vec<_> = kept.rounds.iter().map(|round| &round.record).collect();
    assert!(records.iter().map(|record| record.round).eq(1..=records.len() as u64));
    let refused = records.iter().filter_map(|record| record.refusal.map(|of| of.round));
    assert!(refused.count() > 2);
    for (before, back) in records.iter().zip(&records[1..]) {
        let Some(refusal) = back.refusal else { continue };
        assert_eq!((refusal.round, back.reports), (before.round, 0));
    }
    let last = |outcome: &Outcome| outcome.rounds.last().unwrap().quality.unwrap().loss;
    assert!(last(&kept) < last(&open), "{} and {}", last(&kept), last(&open));

    // Taken up again after each of some rounds, it is the same.
    let store = folder.path().join("gated");
    let mut outcome = None;
    for last in [3, 8, 9, 60] {
        let storage = fedra_aggregator::storage::open(&store).unwrap();
        let done = gated.run(&storage, |round| match round.record.round >= last {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        });
        outcome = Some(done.unwrap_or_else(|error| panic!("{error}")));
    }
    assert_eq!(outcome.unwrap().model, kept.model);

    let owned = of(12, 1, "[task.gate]\nrollbacks = 2");
    let stopped = owned.run(&Storage::in_memory(), |_| ControlFlow::Continue(()));
    let error = stopped.map(drop).unwrap_err().to_string();
    assert!(error.starts_with("the task is paused by the gate after 2 roll-backs"), "{error}");
}

#[tokio::test]
async fn real_clients_over_sockets_make_the_same_model() {
    over_sockets(&task(3, EVERYONE)).await;
}

#[tokio::test]
async fn real_clients_with_scaffold_make_the_same_model() {
    over_sockets(&with_scaffold(&task(3, EVERYONE), 8)).await;
}

/// Holds the third model of a task to that of real clients.
async fn over_sockets(task: &str) {
    let folder = folder();
    let experiment = experiment(folder.path(), "", task);
    let simulated = run(&experiment);

    let text = format!("[[task]]\nid = \"experiment\"\n{task}");
    let at = folder.path().display();
    let text = text.replace("\"images\"", &format!("\"{at}/images\""));
    let text = text.replace("\"labels\"", &format!("\"{at}/labels\""));
    let config = Config::from_toml(&text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let storage = Storage::in_memory();
    let serving = fedra_aggregator::run_with_store(
        config,
        storage.clone(),
        listener,
        future::pending::<()>(),
    );

    let examples = experiment.examples().unwrap();
    let shares = experiment.shares(&examples).unwrap();
    let client = |number: usize| {
        let config = ClientConfig {
            url: format!("ws://{address}/v1/connect").parse().unwrap(),
            trust: Trust::default(),
            task: TaskId::new("experiment").unwrap(),
            token: TokenSource::default(),
            backend: BackendPreference::Cpu,
            privacy: PrivacyConfig {
                floors: PrivacyFloors::default(),
                consent: Consent::Granted,
                subject: SubjectId::from_bytes([number as u8; 16]),
                participations: 0,
            },
            example_privacy: None,
            log: ParticipationLog::nowhere(),
            dropouts: None,
            residual: ResidualStore::nowhere(),
        };
        Client::new(config, TrainingSlots::new(2))
    };
    let clients: Vec<Client> = (0..shares.len()).map(client).collect();
    let taken = clients.iter().zip(&shares).map(|(client, own)| {
        let taken = client.set_data(examples.all.select(&own.examples).into());
        async move { taken.await.expect("fits") }
    });
    let taken = future::join_all(taken);
    let (last_model, mut heard) = mpsc::unbounded();
    let told = move |event| {
        if let ClientEvent::Model { round: 3, .. } = event {
            last_model.unbounded_send(()).expect("heard");
        }
    };
    let ended = future::join_all(clients.iter().map(|client| client.run(told.clone())));
    tokio::select! {
        ended = serving => panic!("the server ended: {ended:?}"),
        (_, ended) = future::join(taken, ended) => panic!("the clients ended: {ended:?}"),
        last = heard.next() => assert_eq!(last, Some(())),
        () = tokio::time::sleep(Duration::from_secs(120)) => panic!("no third round"),
    }
    let task = TaskId::new("experiment").unwrap();
    let record = storage.tasks.record(&task, 3).unwrap().expect("three rounds");
    assert_eq!(record.sha256, simulated.model);
}

#[test]
fn a_wrong_file_is_told_what_to_change() {
    let folder = folder();
    let refused =
        |text: &str| Experiment::from_toml(text, folder.path()).expect_err("refused").to_string();
    let whole = |simulation: &str, partition: &str, task: &str| {
        format!(
            "[simulation]\n{simulation}\n[data]\npath = \"images\"\npartition = {partition}\n\
             [task]\n{task}"
        )
    };
    let (iid, sound) = ("{ kind = \"iid\" }", task(3, ""));
    for (text, expected) in [
        (whole("clients = 0", iid, &sound), "clients must be 1 to 100000"),
        (whole("clients = 3", iid, &sound), "no round would begin"),
        (whole("clients = 9\ntread = 1", iid, &sound), "unknown field `tread`"),
        (whole("seed = 2", iid, &sound), "simulation.clients is missing"),
        (whole("clients = 9", "{ kind = \"iid\", alpha = 1.0 }", &sound), "unknown field `alpha`"),
        (whole("clients = 9", "{ kind = \"idd\" }", &sound), "unknown variant `idd`"),
        (whole("clients = 9", iid, "model = \"mnist-3nn\"\nrounds = 1"), "mnist-3nn"),
        (whole("clients = 9", iid, "model = \"mnist-2nn\""), "nothing ends this experiment"),
        (
            whole("clients = 9\ntarget = 0.9", iid, "model = \"mnist-2nn\""),
            "target needs [task.evaluation]",
        ),
        (
            whole(
                &format!("clients = 9\n{}", EXAMPLE_PRIVACY.replace("= 1e-5", "= 2.0")),
                iid,
                &sound,
            ),
            "example_privacy.delta",
        ),
        (
            whole(
                &format!("clients = 9\n{EXAMPLE_PRIVACY}"),
                iid,
                &task(3, "[task.client_evaluation]\nevery = 2"),
            ),
            "leave task.client_evaluation out",
        ),
        (
            whole("clients = 9\n[devices]\nonline = \"1s\"", iid, &sound),
            "online and offline go together",
        ),
        (
            whole("clients = 9\n[[attack]]\nclients = 10\nkind = \"label_flip\"", iid, &sound),
            "10 attackers among 9 clients",
        ),
        (
            whole("clients = 9\n[[attack]]\nclients = 1\nkind = \"collude\"", iid, &sound),
            "attack.norm is missing",
        ),
        (
            whole(
                "clients = 9\n[[attack]]\nclients = 1\nkind = \"noise\"\nscal = 2.0",
                iid,
                &sound,
            ),
            "unknown field `scal`",
        ),
    ] {
        let told = refused(&text);
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn attackers_that_collude_go_to_the_bound_of_the_task() {
    let folder = folder();
    let more = "[[attack]]\nclients = 2\nkind = \"collude\"";
    for (tables, norm) in [
        ("[task.aggregation]\nestimator = \"norm_bound\"\nnorm = 3.0", 3.0),
        ("[task.aggregation]\nestimator = \"centred_clipping\"\nnorm = 0.5", 0.5),
        (
            "[task.privacy]\npolicy = \"central\"\nclipping_norm = 2.0\nnoise_multiplier = 0.3\n\
             epsilon = 1e6\ndelta = 1e-5\nnoise = \"independent\"",
            2.0,
        ),
    ] {
        let tables = format!("[task.round]\ncohort_size = 12\nminimum_cohort = 12\n{tables}");
        let experiment = experiment(folder.path(), more, &task(1, &tables));
        assert_eq!(experiment.attacks, [Attack { clients: 2, kind: Kind::Collude { norm } }]);
    }
}

#[test]
fn a_task_that_no_client_can_train_says_what_they_met() {
    let folder = folder();
    let tables = "update_range = 1\n[task.round]\ncohort_size = 12\ndeadline = \"10s\"";
    let broken = task(3, "").replace("learning_rate = 0.5", "learning_rate = 1e8");
    let broken = broken.replace("rounds = 3", "rounds = 3\nupdate_range = 1") + &tables[16..];
    let experiment = experiment(folder.path(), "", &broken);
    let error = experiment.run(&Storage::in_memory(), |_| ControlFlow::Continue(()));
    let told = error.expect_err("diverges").to_string();
    assert!(told.contains("client ") && told.contains("learning rate"), "{told}");
}
