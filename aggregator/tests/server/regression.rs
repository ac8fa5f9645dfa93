//! Regression through the real server: targets of ordinary size and targets near 1
//! come as near to the least-squares solution as averaging without rounding does.

use std::sync::Arc;

use fedra_data::{Dataset, Layout};
use fedra_learning::{LocalTrainer, check_update};
use fedra_protocol::{
    LocalTraining, RoundAssignment, TaskDescription, UpdateFault, UpdateRange, UpdateVerdict,
};
use tempfile::TempDir;

use crate::support::{PARAMETERS, TestClient, TestServer, config_of, config_with};

const CLIENTS: usize = 2;
const EXAMPLES: usize = 40;
const ROUNDS: u64 = 40;
/// Relative to the largest target.
const NOISE: f32 = 0.02;

/// Evenly spread numbers in [-1, 1]: the fraction of multiples of the golden ratio.
fn spread(index: usize) -> f32 {
    let fraction = (index as f64 * 0.618_033_988_749_895).fract();
    (2.0 * fraction - 1.0) as f32
}

/// Features and targets of a client; the targets are between -0.2 and 1 times `scale`.
fn examples(client: usize, scale: f32) -> (Vec<f32>, Vec<f32>) {
    let features: Vec<f32> = (0..2 * EXAMPLES).map(|i| spread(1000 * client + 7 * i + 1)).collect();
    let target = |(i, x): (usize, &[f32])| {
        let noise = NOISE * spread(500 * client + 11 * i + 3);
        scale * (0.4 * x[0] - 0.15 * x[1] + 0.4 + noise)
    };
    let targets = features.chunks(2).enumerate().map(target).collect();
    (features, targets)
}

/// Solves the normal equations of all clients' examples by Gauss-Jordan elimination.
fn least_squares(scale: f32) -> [f64; PARAMETERS] {
    let mut rows = [[0.0; PARAMETERS + 1]; PARAMETERS];
    for client in 0..CLIENTS {
        let (features, targets) = examples(client, scale);
        for (x, y) in features.chunks(2).zip(targets) {
            let x = [f64::from(x[0]), f64::from(x[1]), 1.0];
            for (row, a) in rows.iter_mut().zip(x) {
                row.iter_mut().zip(x).for_each(|(sum, b)| *sum += a * b);
                row[PARAMETERS] += a * f64::from(y);
            }
        }
    }
    for pivot in 0..PARAMETERS {
        let divisor = rows[pivot][pivot];
        rows[pivot].iter_mut().for_each(|value| *value /= divisor);
        let leading = rows[pivot];
        for (_, row) in rows.iter_mut().enumerate().filter(|(index, _)| *index != pivot) {
            let factor = row[pivot];
            row.iter_mut().zip(leading).for_each(|(value, lead)| *value -= factor * lead);
        }
    }
    rows.map(|row| row[PARAMETERS])
}

/// Training as the client does it.
fn train(
    task: &TaskDescription,
    plan: &LocalTraining,
    global: &[f32],
    data: &Arc<Dataset>,
) -> Vec<f32> {
    let data = Arc::clone(data);
    let mut trainer = LocalTrainer::new(&task.model, global, data, plan).expect("fits");
    while trainer.step().is_some() {}
    let local = trainer.parameters().expect("is finite");
    local.iter().zip(global).map(|(local, global)| local - global).collect()
}

/// Outcome of a task: the server's model, and the one that the same updates make when
/// they are averaged without rounding to the server's grid.
struct Outcome {
    model: Vec<f32>,
    exact: Vec<f32>,
}

/// Trains a task of the default range.
async fn trained(scale: f32) -> Outcome {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let round = format!("cohort_size = {CLIENTS}");
    let training = "[task.training]\nepochs = 5\nbatch_size = 1000\nlearning_rate = 0.1";
    let config = config_with(&folder.path().join("store"), &round, "", "", training);
    let server = TestServer::start_config(config, folder).await;
    let mut members: Vec<(TestClient, Arc<Dataset>)> = Vec::new();
    let mut described = None;
    for client in 0..CLIENTS {
        let mut member = server.client().await;
        let description = member.check_in("tiny").await.task;
        let (features, targets) = examples(client, scale);
        let shape = [EXAMPLES as u32, 2];
        let data = Dataset::from_arrays(features, targets, &shape, Layout::ChannelsFirst);
        let data = data.expect("consistent");
        data.check_for_task(&description).expect("fits");
        members.push((member, Arc::new(data)));
        described = Some(description);
    }
    let task = described.expect("there are clients");
    assert_eq!(task.update_range, UpdateRange::default_for(task.model.loss()));
    let mut model = server.parameters().await;
    let mut exact = model.clone();
    for round in 1..=ROUNDS {
        let mut mean = [0.0; PARAMETERS];
        for (member, data) in &mut members {
            let RoundAssignment { round: id, training, .. } = member.assignment().await;
            assert_eq!(id.round, round);
            let update = train(&task, &training, &model, data);
            check_update(&update, task.update_range).expect("within the range");
            let outcome = member.report(id, &update, EXAMPLES as u64).await;
            assert_eq!(outcome.verdict, UpdateVerdict::Accepted, "{outcome:?}");
            let same = train(&task, &training, &exact, data);
            mean.iter_mut().zip(same).for_each(|(sum, value)| *sum += f64::from(value));
        }
        for (value, sum) in exact.iter_mut().zip(mean) {
            *value = (f64::from(*value) + sum / CLIENTS as f64) as f32;
        }
        members[0].0.status(|status| status.model.round == round).await;
        model = server.parameters().await;
    }
    server.stop().await;
    Outcome { model, exact }
}

/// Checks that the least-squares solution is reached except for the cost of averaging,
/// and that rounding costs nothing.
async fn comes_near_the_solution(scale: f32) {
    let Outcome { model, exact } = trained(scale).await;
    let solution = least_squares(scale);
    for ((value, exact), best) in model.iter().zip(exact).zip(solution) {
        let off = |other: f64| (f64::from(*value) - other).abs() / f64::from(scale);
        assert!(off(best) < 1e-4, "{model:?} is not {solution:?}");
        assert!(off(exact.into()) < 2e-6, "{value} is not {exact}");
    }
}

#[tokio::test]
async fn targets_up_to_300_000_reach_the_least_squares_solution() {
    comes_near_the_solution(300_000.0).await;
}

#[tokio::test]
async fn targets_near_1_lose_nothing_to_a_range_that_is_large() {
    comes_near_the_solution(1.0).await;
}

#[tokio::test]
async fn an_update_is_held_to_the_range_that_the_task_has() {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let store = folder.path().join("store");
    let config = config_of(&store, "cohort_size = 1", "", "update_range = 2");
    let server = TestServer::start_config(config, folder).await;
    let mut client = server.client().await;
    let described = client.check_in("tiny").await.task;
    assert_eq!(described.update_range, UpdateRange::new(2).expect("a power of two"));
    client.take_part(&[2.0, -2.0, 0.5], 1).await;
    let round = client.assignment().await.round;
    let outcome = client.report(round, &[2.0, 0.0, -2.000_001], 1).await;
    assert_eq!(outcome.verdict, UpdateVerdict::Rejected(UpdateFault::OutOfRange));
    assert!(outcome.message.contains("update_range of 2"), "{}", outcome.message);
    server.stop().await;
}
