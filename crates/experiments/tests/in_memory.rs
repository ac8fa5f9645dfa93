//! Experiments on examples in memory: the division is the only difference to files.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use fedra_coordinator::storage::Storage;
use fedra_data::{Dataset, Targets};
use fedra_experiments::{Division, Experiment, ExperimentError, InMemory, Outcome, Partition};
use fedra_protocol::Shape;

const CLIENTS: u32 = 6;
const EXAMPLES: usize = 240;

/// Pairs of values whose class is the larger one.
fn examples() -> Arc<Dataset> {
    let pair = |index: usize| match index % 2 {
        0 => [1.0, index as f32 / EXAMPLES as f32],
        _ => [index as f32 / EXAMPLES as f32, 1.0],
    };
    let classes = (0..EXAMPLES as u32).map(|index| index % 2).collect();
    let values: Vec<f32> = (0..EXAMPLES).flat_map(pair).collect();
    let shape = Shape::from_dims(&[2]).unwrap();
    Arc::new(Dataset::new(values, shape, Targets::Classes(classes)).unwrap())
}

/// `simulation` is more of that table, `task` more of the task.
fn experiment(
    simulation: &str,
    task: &str,
    examples: InMemory,
) -> Result<Experiment, ExperimentError> {
    let text = format!(
        r#"
        [simulation]
        clients = {CLIENTS}
        {simulation}
        [task]
        rounds = 4
        [task.model]
        input = [2]
        loss = "softmax_cross_entropy"
        layers = [{{ type = "linear", outputs = 2 }}]
        [task.training]
        learning_rate = 0.5
        batch_size = 4
        [task.round]
        cohort_size = {CLIENTS}
        minimum_cohort = {CLIENTS}
        minimum_reports = {CLIENTS}
        {task}
        "#
    );
    Experiment::in_memory(toml::from_str(&text).unwrap(), Path::new(""), examples)
}

fn in_memory(training: Arc<Dataset>, division: Division) -> InMemory {
    InMemory { training, division, held_out: Some(examples()) }
}

fn run(experiment: &Experiment) -> Outcome {
    let outcome = experiment.run(&Storage::in_memory(), |_| ControlFlow::Continue(()));
    outcome.unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn clients_with_the_same_examples_make_the_same_model_however_they_are_divided() {
    let drawn = in_memory(examples(), Division::Drawn(Partition::Quantity { alpha: 5.0 }));
    let drawn = experiment("target = 1.1", "", drawn).unwrap();
    let shares = drawn.shares(&drawn.examples().unwrap()).unwrap();
    let shares: Vec<Vec<u32>> = shares.into_iter().map(|share| share.examples).collect();
    let sizes: Vec<u32> = shares.iter().map(|share| share.len() as u32).collect();
    let sorted = Arc::new(examples().select(&shares.concat()));
    let given = experiment("", "", in_memory(sorted, Division::Given(sizes))).unwrap();
    let (drawn, given) = (run(&drawn), run(&given));
    assert_eq!(drawn.model, given.model);
    let qualities = |outcome: &Outcome| outcome.rounds.iter().map(|of| of.quality).collect();
    let (of_drawn, of_given): (Vec<_>, Vec<_>) = (qualities(&drawn), qualities(&given));
    assert_eq!(of_drawn, of_given);
    assert!(of_given.iter().all(Option::is_some), "each model is evaluated");
}

#[test]
fn what_does_not_go_together_is_refused() {
    let refused = |simulation: &str, task: &str, examples: InMemory| {
        experiment(simulation, task, examples).expect_err("refused").to_string()
    };
    let given = |sizes: &[u32]| in_memory(examples(), Division::Given(sizes.to_vec()));
    let drawn = || Division::Drawn(Partition::Iid {});
    for (told, expected) in [
        (refused("", "", given(&[120, 120])), "clients is 6, and there are examples of 2 clients"),
        (refused("", "", given(&[80, 80, 80, 0, 0, 0])), "client 3 has no example"),
        (
            refused("", "", given(&[40, 40, 40, 40, 40, 39])),
            "239 examples together, the data set 240",
        ),
        (
            refused(
                "target = 0.9",
                "",
                InMemory { held_out: None, ..in_memory(examples(), drawn()) },
            ),
            "target needs",
        ),
        (
            refused("", "[task.evaluation]\ndata = \"Cargo.toml\"", in_memory(examples(), drawn())),
            "leave out task.evaluation",
        ),
        (
            refused("[data]\npath = \"x\"\npartition = { kind = \"iid\" }", "", given(&[240])),
            "leave out [data]",
        ),
    ] {
        assert!(told.contains(expected), "{told}");
    }
    let nothing = Experiment::from_toml("[simulation]\nclients = 1\n[task]", Path::new(""));
    assert!(nothing.expect_err("no data").to_string().contains("[data]"));
    let wide = Shape::from_dims(&[3]).unwrap();
    let wide =
        Dataset::new(vec![0.5; 3 * EXAMPLES], wide, Targets::Classes(vec![0; EXAMPLES])).unwrap();
    let wide = experiment("", "", in_memory(Arc::new(wide), drawn())).unwrap();
    assert!(wide.examples().expect_err("three values").to_string().contains("do not fit the task"));
}
