//! Natural clients, styles of images, and traces of devices: who has what, and that a seed
//! decides.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use fedra_coordinator::storage::Storage;
use fedra_experiments::{Experiment, Outcome, Share};
use tempfile::TempDir;

/// A table of delays at three airports, with one row of a fourth and one without any.
const DELAYS: &str = "airport,wind,delay\nOSL,1,2\nJFK,2,4\nOSL,3,6\nLIS,4,8\nJFK,5,10\nOSL,6,12\n\
                      LIS,7,14\n,8,16\nNRT,9,18\n";

const TABLE: &str = r#"
title = "Delays"
rounds = 2
[task.model]
input = [1]
loss = "mean_squared_error"
layers = [{ type = "linear", outputs = 1 }]
[task.data]
kind = "table"
target = "delay"
columns = [
  { name = "wind", type = "number", mean = 5, deviation = 3 },
  { name = "delay", type = "number", mean = 10, deviation = 6 },
]
[task.round]
cohort_size = 3
minimum_cohort = 2
minimum_reports = 2
"#;

const TEXT: &str = r#"
title = "Letters"
rounds = 1
[task.model]
input = [4]
elements = "token_ids"
vocabulary = 3
loss = "softmax_cross_entropy"
layers = [{ type = "embedding", width = 2 }, { type = "linear", outputs = 3 }]
[task.data]
kind = "text"
context = 4
alphabet = "ab "
[task.round]
cohort_size = 2
minimum_cohort = 2
minimum_reports = 2
"#;

/// Images of 6 x 6 pixels with a bar that stands or lies, flat or not.
fn bars(input: &str) -> String {
    format!(
        r#"
title = "Bars"
rounds = 4
[task.model]
input = {input}
loss = "softmax_cross_entropy"
layers = [{{ type = "flatten" }}, {{ type = "linear", outputs = 2 }}]
[task.training]
learning_rate = 0.1
[task.round]
cohort_size = 6
minimum_cohort = 6
minimum_reports = 6
[task.evaluation]
data = "images"
labels = "labels"
"#
    )
}

fn write(folder: &TempDir, name: &str, text: impl AsRef<[u8]>) {
    let path = folder.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn write_bars(folder: &TempDir) {
    let mut images = vec![0, 0, 8, 3, 0, 0, 0, 60, 0, 0, 0, 6, 0, 0, 0, 6];
    let mut labels = vec![0, 0, 8, 1, 0, 0, 0, 60];
    for example in 0..60_u8 {
        let (lies, place) = (example % 2, example / 2 % 6);
        let is_bright = |pixel: u8| place == if lies == 1 { pixel / 6 } else { pixel % 6 };
        images.extend((0..36).map(|pixel| if is_bright(pixel) { 250 } else { 5 }));
        labels.push(lies);
    }
    write(folder, "images", images);
    write(folder, "labels", labels);
}

fn experiment(folder: &Path, head: &str, task: &str) -> Result<Experiment, String> {
    let text = format!("{head}\n[task]\n{task}");
    Experiment::from_toml(&text, folder).map_err(|error| error.to_string())
}

fn shares(experiment: &Experiment) -> Result<Vec<Share>, String> {
    let examples = experiment.examples().map_err(|error| error.to_string())?;
    experiment.shares(&examples).map_err(|error| error.to_string())
}

fn run(experiment: &Experiment) -> Outcome {
    let outcome = experiment.run(&Storage::in_memory(), |_| ControlFlow::Continue(()));
    outcome.unwrap_or_else(|error| panic!("{error}"))
}

fn names(shares: &[Share]) -> Vec<(&str, &[u32])> {
    shares.iter().map(|share| (share.name.as_str(), share.examples.as_slice())).collect()
}

#[test]
fn each_value_of_a_column_is_a_client() {
    let folder = TempDir::new().unwrap();
    write(&folder, "delays.csv", DELAYS);
    let by = |simulation: &str, column: &str, minimum: u32| {
        let head = format!(
            "[simulation]\n{simulation}\n[data]\npath = \"delays.csv\"\n\
             partition = {{ kind = \"column\", column = \"{column}\", minimum = {minimum} }}"
        );
        experiment(folder.path(), &head, TABLE)
    };
    let all = by("", "airport", 2).unwrap();
    let dealt = shares(&all).unwrap();
    let expected: [(&str, &[u32]); 3] = [("JFK", &[1, 4]), ("LIS", &[3, 6]), ("OSL", &[0, 2, 5])];
    assert_eq!(names(&dealt), expected);
    let outcome = run(&all);
    assert_eq!((outcome.clients, outcome.rounds.len()), (3, 2));
    assert_eq!(shares(&by("", "airport", 1).unwrap()).unwrap().len(), 4);
    // A column that is a feature will do as well.
    assert_eq!(shares(&by("", "wind", 1).unwrap()).unwrap().len(), 9);
    let two = shares(&by("clients = 2", "airport", 2).unwrap()).unwrap();
    assert_eq!(two, shares(&by("clients = 2", "airport", 2).unwrap()).unwrap());
    assert!(two.len() == 2 && two.iter().all(|share| dealt.contains(share)));
    for (simulation, column, minimum, expected) in [
        ("clients = 5", "airport", 2, "3 values of the column have 2 or more examples"),
        ("", "airport", 4, "none of 4 values of the column has 4 or more examples"),
        ("", "air port", 1, "Rename \"airport\" to \"air port\""),
        ("", "airport", 3, "minimum_cohort is 2, and there are 1 clients"),
    ] {
        let told = shares(&by(simulation, column, minimum).unwrap()).expect_err("refused");
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn each_file_is_a_client_and_short_ones_are_left_out() {
    let folder = TempDir::new().unwrap();
    write(&folder, "speakers/anna.txt", "ab ba ab a");
    write(&folder, "speakers/bert.txt", "ab");
    write(&folder, "speakers/carl/first.txt", "bbbbbb");
    write(&folder, "speakers/carl/second.txt", "a a a a");
    write(&folder, "speakers/dora.txt", "b a b a b a b");
    let head = |minimum: u32| {
        format!(
            "[simulation]\n[data]\npath = \"speakers\"\n\
             partition = {{ kind = \"files\", minimum = {minimum} }}"
        )
    };
    let all = experiment(folder.path(), &head(1), TEXT).unwrap();
    let dealt = shares(&all).unwrap();
    assert_eq!(
        dealt.iter().map(|of| of.name.as_str()).collect::<Vec<_>>(),
        ["anna", "carl", "dora"]
    );
    let mut indices = dealt.iter().flat_map(|share| share.examples.iter().copied());
    assert!((0..).zip(indices.by_ref()).all(|(place, index)| place == index), "one by one");
    assert_eq!(run(&all).rounds.len(), 1);
    let told = shares(&experiment(folder.path(), &head(100), TEXT).unwrap()).expect_err("refused");
    assert!(told.contains("none of 3 files and folders has 100 or more examples"), "{told}");
    // Tables, one file a client.
    write(&folder, "airports/OSL.csv", "wind,delay\n1,2\n3,6\n");
    write(&folder, "airports/JFK.csv", "wind,delay\n2,4\n");
    write(&folder, "airports/LIS.csv", "wind,delay\n");
    let tables = head(1).replace("speakers", "airports");
    let dealt = shares(&experiment(folder.path(), &tables, TABLE).unwrap()).unwrap();
    let expected: [(&str, &[u32]); 2] = [("JFK", &[0]), ("OSL", &[1, 2])];
    assert_eq!(names(&dealt), expected);
    let data = experiment(folder.path(), &head(1).replace("speakers", "nowhere"), TABLE).unwrap();
    assert!(shares(&data).expect_err("no folder").contains("nowhere"));
}

#[test]
fn a_style_changes_training_and_not_what_is_evaluated() {
    let folder = TempDir::new().unwrap();
    write_bars(&folder);
    let of = |input: &str, simulation: &str, style: &str| {
        let head = format!(
            "[simulation]\nclients = 6\n{simulation}\n[data]\npath = \"images\"\nlabels = \"labels\"\n\
             partition = {{ kind = \"iid\" }}\n{style}"
        );
        experiment(folder.path(), &head, &bars(input))
    };
    let image = "[1, 6, 6]";
    let style = "style = { rotation = 20, shear = 0.2, stroke = 1, contrast = 0.3 }";
    let plain = run(&of(image, "", "").unwrap());
    let styled = run(&of(image, "threads = 1", style).unwrap());
    assert_ne!(styled.model, plain.model);
    assert_eq!(styled.model, run(&of(image, "threads = 3", style).unwrap()).model);
    assert_ne!(styled.model, run(&of(image, "seed = 2", style).unwrap()).model);
    assert_eq!(plain.model, run(&of(image, "", "style = { rotation = 0 }").unwrap()).model);
    // Flat values are the pixels of an image where the file says so.
    let sized = style.replace("}", ", size = [6, 6] }");
    let flat = run(&of("[36]", "", &sized).unwrap());
    let loss = |outcome: &Outcome| outcome.rounds[3].quality.unwrap().loss;
    assert!((loss(&flat) - loss(&styled)).abs() < 1e-6, "{} {}", loss(&flat), loss(&styled));
    assert!((loss(&flat) - loss(&plain)).abs() > 1e-4, "{} {}", loss(&flat), loss(&plain));
    let told = shares(&of("[36]", "", style).unwrap()).expect_err("flat");
    assert!(told.contains("set data.style.size = [height, width]"), "{told}");
    let told = of(image, "", "style = { rotation = 200 }").expect_err("too far");
    assert!(told.contains("data.style.rotation must be 0 to 180; it is 200"), "{told}");
}

/// An experiment with traces, in a folder with bars.
fn traced(folder: &TempDir, devices: &str) -> Result<Experiment, String> {
    let head = format!(
        "[simulation]\nclients = 6\n[data]\npath = \"images\"\nlabels = \"labels\"\n\
         partition = {{ kind = \"iid\" }}\n[devices]\n{devices}"
    );
    experiment(folder.path(), &head, &bars("[1, 6, 6]"))
}

#[test]
fn traced_devices_take_their_time_and_are_there_at_theirs() {
    let folder = TempDir::new().unwrap();
    write_bars(&folder);
    // 10 examples of each client: 2.5 s on the slowest device.
    write(&folder, "speeds.csv", "examples_per_second\n4\n100\n10\n");
    let seconds = |outcome: &Outcome| -> Vec<f64> {
        outcome.rounds.iter().map(|round| round.at.as_secs_f64()).collect()
    };
    let outcome = run(&traced(&folder, "trace = \"speeds.csv\"").unwrap());
    assert_eq!(seconds(&outcome), [2.5, 5.0, 7.5, 10.0]);
    // Each is there for the first ten of 100 seconds, in two stays that touch.
    let rows: String = (0..6).map(|of| format!("{of},100,105\n{of},105,110\n")).collect();
    write(&folder, "there.csv", format!("client,from_seconds,to_seconds\n{rows}"));
    let named: String = (0..6).map(|of| format!("{of},{}\n", 10 + of)).collect();
    write(&folder, "named.csv", format!("client,examples_per_second\n{named}"));
    let devices = "trace = \"named.csv\"\navailability = \"there.csv\"\ntraced = \"named\"\n\
                   upload_mbit = 1.0\nperiod = \"200s\"";
    let outcome = run(&traced(&folder, devices).unwrap());
    assert!(outcome.rounds[0].at > Duration::from_secs(101), "there from 100 s on");
    let is_there = |at: f64| (100.0..=110.0).contains(&(at % 200.0));
    assert!(seconds(&outcome).into_iter().all(is_there), "{:?}", seconds(&outcome));
    assert_eq!(outcome.model, run(&traced(&folder, devices).unwrap()).model);
}

#[test]
fn a_wrong_trace_is_told_with_its_line() {
    let folder = TempDir::new().unwrap();
    write_bars(&folder);
    let stays = "client,from_seconds,to_seconds\n";
    for (trace, availability, more, expected) in [
        (
            "examples_per_second\n3\nfast\n",
            "",
            "",
            "trace.csv, line 3, column \"examples_per_second\": \"fast\"",
        ),
        (
            "examples_per_second\n3\n-1\n",
            "",
            "",
            "line 3, column \"examples_per_second\": must be above 0; it is -1",
        ),
        (
            "examples_per_second,cpu\n3,1\n",
            "",
            "",
            "column \"cpu\": the column is not known; a trace has",
        ),
        (
            "examples_per_seconds\n3\n",
            "",
            "",
            "column \"examples_per_seconds\": the column is not known",
        ),
        ("examples_per_second\n3,4\n", "", "", "line 2: the row has 2 fields"),
        ("examples_per_second\n", "", "", "add rows"),
        (
            "client,examples_per_second\na,1\na,2\n",
            "",
            "",
            "line 3, column \"client\": the client \"a\" has line 2 already",
        ),
        (
            "examples_per_second\n3\n",
            "",
            "speed = { kind = \"constant\", examples_per_second = 1.0 }",
            "leave speed out",
        ),
        (
            "examples_per_second,upload_mbit\n3,2\n",
            "",
            "upload_mbit = 1.0",
            "devices.upload_mbit is set, too",
        ),
        ("examples_per_second\n3\n", "", "traced = \"named\"", "no \"client\""),
        ("examples_per_second\n3\n", "a,0,1\n", "", "no \"client\""),
        ("client,examples_per_second\na,3\n", "b,0,1\n", "", "no row of the client \"a\""),
        (
            "client,examples_per_second\na,3\n",
            "a,0,1\nb,0,1\n",
            "",
            "line 3, column \"client\": devices.trace has no client \"b\"",
        ),
        ("", "a,5,5\n", "", "line 2, column \"to_seconds\": the stay begins at 5 and ends at 5"),
        (
            "",
            "a,-1,5\n",
            "",
            "line 2, column \"from_seconds\": seconds from the start are 0 or more",
        ),
        (
            "",
            "a,5,90\n",
            "period = \"1m\"",
            "line 2, column \"to_seconds\": 90 is behind devices.period, 60 s",
        ),
        ("", "a,5,6\n", "online = \"1s\"\noffline = \"1s\"", "leave online and offline out"),
        ("", "", "period = \"1m\"", "devices.period is that of devices.availability"),
        ("", "", "traced = \"named\"", "set one of them"),
    ] {
        let mut devices = String::new();
        if !trace.is_empty() {
            write(&folder, "trace.csv", trace);
            devices += "trace = \"trace.csv\"\n";
        }
        if !availability.is_empty() {
            write(&folder, "there.csv", format!("{stays}{availability}"));
            devices += "availability = \"there.csv\"\n";
        }
        let told = traced(&folder, &(devices + more)).expect_err("refused");
        assert!(told.contains(expected), "{told}\n{expected}");
    }
    write(&folder, "trace.csv", "client,examples_per_second\n0,3\n1,3\n");
    let few = traced(&folder, "trace = \"trace.csv\"\ntraced = \"named\"").unwrap();
    let error = few.run(&Storage::in_memory(), |_| ControlFlow::Continue(()));
    assert!(error.expect_err("6 clients").to_string().contains("no client \"2\""));
}
