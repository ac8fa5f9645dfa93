//! SCAFFOLD through the real server: its models and its control variates are those of the
//! paper's algorithm in double precision, over a restart; and clients that do not know it, or
//! weigh more than others, are refused.

use std::sync::Arc;

use fedra_protocol::{
    Availability, Capabilities, ClientAlgorithm, ClientMessage, RefusalCode, RoundAssignment,
    TaskId, UpdateFault, UpdateVerdict,
};
use tempfile::TempDir;

use crate::support::{
    PARAMETERS, TestClient, TestServer, announcement, config_with, get, parameters, update,
};

/// Clients that take part, of [`POPULATION`] in all.
const CLIENTS: usize = 2;
const POPULATION: f64 = 4.0;
const STEPS: u32 = 5;
const RATE: f64 = 0.125;
const REACH: f64 = STEPS as f64 * RATE;

type Vector = [f64; PARAMETERS];

fn added(x: Vector, factor: f64, y: Vector) -> Vector {
    std::array::from_fn(|at| x[at] + factor * y[at])
}

/// Gradient of a client's quadratic loss, whose minimum is another one than that of the
/// others.
fn gradient(client: usize, x: Vector) -> Vector {
    let (curvature, middle) =
        [([1.0, 0.5, 2.0], [2.0, -1.0, 0.5]), ([0.25, 1.5, 1.0], [-1.0; 3])][client];
    std::array::from_fn(|at| curvature[at] * (x[at] - middle[at]))
}

/// The paper's algorithm 1 with option II, of all that take part, in double precision.
struct Paper {
    x: Vector,
    c: Vector,
    own: [Vector; CLIENTS],
}

impl Paper {
    /// Local parameters y_i after the steps of a client.
    fn trained(&self, client: usize) -> Vector {
        let correction = added(self.c, -1.0, self.own[client]);
        (0..STEPS).fold(self.x, |y, _| added(y, -RATE, added(gradient(client, y), 1.0, correction)))
    }

    fn round(&mut self) {
        let trained = [0, 1].map(|client| self.trained(client));
        let (x, c) = (self.x, self.c);
        for (own, y) in self.own.iter_mut().zip(trained) {
            let next = added(added(*own, -1.0, c), 1.0 / REACH, added(x, -1.0, y));
            self.c = added(self.c, 1.0 / POPULATION, added(next, -1.0, *own));
            self.x = added(self.x, 1.0 / CLIENTS as f64, added(y, -1.0, x));
            *own = next;
        }
    }
}

fn near(found: &[f32], expected: Vector) {
    let pairs = found.iter().zip(expected);
    assert!(found.len() == PARAMETERS, "{found:?}");
    for (value, expected) in pairs {
        assert!((f64::from(*value) - expected).abs() < 1e-5, "{found:?} {expected}");
    }
}

async fn started(folder: &Arc<TempDir>) -> TestServer {
    let training = format!(
        "[task.training]\nalgorithm = \"scaffold\"\nsteps = {STEPS}\nlearning_rate = {RATE}\n\
         population = {POPULATION}"
    );
    let round = format!("cohort_size = {CLIENTS}");
    let config = config_with(&folder.path().join("store"), &round, "", "", &training);
    TestServer::start_config(config, Arc::clone(folder)).await
}

/// The server's variate of an assignment, as a client fetches it.
async fn control(server: &TestServer, assignment: &RoundAssignment) -> Vec<f32> {
    let Some(control) = &assignment.control else { return vec![0.0; PARAMETERS] };
    let answer = get(server.address, &format!("/v1/{}", control.url)).await;
    assert_eq!((answer.status, answer.body.len() as u64), (200, control.bytes));
    parameters(&answer.body)
}

#[tokio::test]
async fn models_and_variates_are_those_of_the_paper() {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let mut server = started(&folder).await;
    let start = server.parameters().await;
    let x = std::array::from_fn(|at| f64::from(start[at]));
    let mut paper = Paper { x, c: [0.0; PARAMETERS], own: [[0.0; PARAMETERS]; CLIENTS] };
    for first in [1, 4] {
        let mut members: Vec<TestClient> = Vec::new();
        for _ in 0..CLIENTS {
            members.push(server.joined().await);
        }
        for round in first..first + 3 {
            for (client, member) in members.iter_mut().enumerate() {
                let assignment = member.assignment().await;
                let RoundAssignment { round: id, training, .. } = &assignment;
                assert_eq!((id.round, training.algorithm()), (round, ClientAlgorithm::Scaffold));
                assert_eq!((training.steps(), assignment.control.is_some()), (STEPS, round > 1));
                near(&control(&server, &assignment).await, paper.c);
                let update = added(paper.trained(client), -1.0, paper.x);
                let outcome = member.report(*id, &update.map(|value| value as f32), 1).await;
                assert_eq!(outcome.verdict, UpdateVerdict::Accepted, "{outcome:?}");
            }
            paper.round();
            members[0].status(|status| status.model.round == round).await;
            near(&server.parameters().await, paper.x);
        }
        drop(members);
        server.stop().await;
        server = started(&folder).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn every_client_weighs_one() {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let server = started(&folder).await;
    let (mut a, b) = (server.joined().await, server.joined().await);
    let round = a.assignment().await.round;
    a.begin(announcement(round, &update(&[0.5; PARAMETERS]), 2)).await;
    let outcome = a.outcome().await;
    assert_eq!(outcome.verdict, UpdateVerdict::Rejected(UpdateFault::WeightOutOfRange));
    drop(b);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_know_the_algorithm_is_refused() {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let server = started(&folder).await;
    let mut client = server.client().await;
    client.hello().await;
    let mut capabilities = Capabilities::all();
    assert!(capabilities.algorithms.remove("scaffold"));
    let check_in = ClientMessage::CheckIn {
        task: TaskId::new("tiny").expect("valid"),
        availability: Availability::Available,
        subject: None,
        token: None,
        capabilities,
    };
    client.send(check_in).await;
    let (refusal, _) = client.refusal().await;
    assert_eq!(refusal.code, RefusalCode::UnsupportedClient);
    assert!(refusal.message.contains("the training algorithm scaffold"), "{}", refusal.message);
    server.stop().await;
}
