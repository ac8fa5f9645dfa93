//! Buffered rounds under secure aggregation: clients that have trained wait for each other,
//! and the server sees the sums of groups.

use std::sync::Arc;

use fedra_protocol::{
    Capabilities, ClientAlgorithm, ClientMessage, RefusalCode, RoundId, RoundPhase,
};
use fedra_secure_aggregation::client::{AdvertisedKeys, SharedKeys};
use tempfile::TempDir;

use super::participant::Participant;
use super::support::{PARAMETERS, TestServer, check_in, config_with};

const GROUPS: &str = r#"
    mode = "buffered"
    staleness_exponent = 1.0
    cohort_size = 4
    minimum_cohort = 4
    report_goal = 3
    minimum_reports = 3
    selection_window = "0s"
"#;

const LITTLE_NOISE: &str = r#"
    [task.privacy]
    policy = "distributed"
    noise_multiplier = 0.005
    clipping_norm = 4.0
    epsilon = 1e9
    delta = 1e-5
    step_deadline = "5s"
"#;

async fn server(rounds: u32) -> TestServer {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let (store, rounds) = (folder.path().join("store"), format!("rounds = {rounds}"));
    let config = config_with(&store, GROUPS, "", &rounds, LITTLE_NOISE);
    TestServer::start_config(config, folder).await
}

/// Within the clipping norm, and different for each client.
fn update(number: usize) -> [f32; PARAMETERS] {
    [number as f32 / 4.0, number as f32 / -4.0, 0.5]
}

/// A client of a group, its number, and what it keeps between two steps.
type Member<'a, State> = (usize, &'a mut Participant, State);

/// The clients of a group have sent their keys, and share.
async fn share(group: Vec<Member<'_, AdvertisedKeys>>) -> Vec<Member<'_, SharedKeys>> {
    let mut shared = Vec::new();
    for (number, participant, state) in group {
        let state = participant.share(state).await;
        shared.push((number, participant, state));
    }
    shared
}

/// Plays the steps after that.
async fn finish(shared: Vec<Member<'_, SharedKeys>>) {
    let mut masked = Vec::new();
    for (number, participant, state) in shared {
        let state = participant.mask(state, &update(number)).await;
        masked.push((participant, state));
    }
    for (participant, state) in masked {
        participant.unmask(state).await;
    }
}

#[tokio::test]
async fn groups_become_models_and_a_stale_update_weighs_less() {
    let server = server(2).await;
    let before = server.parameters().await;
    let mut all = Participant::join_all(&server, 4).await;
    let [a, b, c, d] = &mut all[..] else { panic!("there are four") };
    let (of_a, of_b, of_c) = (a.advertise().await, b.advertise().await, c.advertise().await);
    let shared = share(vec![(0, &mut *a, of_a), (1, &mut *b, of_b), (2, &mut *c, of_c)]).await;
    // The fourth is as far while the first group is at work, and waits.
    let of_d = d.advertise().await;
    finish(shared).await;

    // The second group is of the fourth, whose update is from the model before, and of two
    // that have trained the newest.
    let (of_a, of_b) = (a.advertise().await, b.advertise().await);
    assert_eq!((a.round().round, d.round().round), (2, 1));
    finish(share(vec![(0, &mut *a, of_a), (1, &mut *b, of_b), (3, &mut *d, of_d)]).await).await;
    let group = d.group.expect("it was in a group");
    assert_eq!((group.round, group.weight), (RoundId { round: 2, attempt: 0 }, 0.5));
    assert_eq!(a.group.map(|group| group.weight), Some(1.0));
    d.client.phase(RoundPhase::Finished).await;

    let after = server.parameters().await;
    let expected = |place: usize| {
        let [a, b, c, d] = [0, 1, 2, 3].map(|number| update(number)[place]);
        (a + b + c) / 3.0 + (a + b + 0.5 * d) / 3.0
    };
    for (place, (after, before)) in after.iter().zip(before).enumerate() {
        let step = after - before;
        assert!((step - expected(place)).abs() < 0.1, "{step} at {place}");
    }
    let task = server.task().await;
    assert_eq!(
        (&task["history"][0]["reports"], &task["history"][1]["reports"]),
        (&3.into(), &3.into())
    );
    assert_eq!(task["privacy"]["debits"], 2);
    server.stop().await;
}

#[tokio::test]
async fn a_group_that_fails_costs_the_clients_that_wait_nothing() {
    let server = server(2).await;
    let mut all = Participant::join_all(&server, 4).await;
    let mut late = all.pop().expect("a fourth");
    for participant in &mut all {
        participant.advertise().await;
    }
    let mut gone = all.pop().expect("a client of the group");
    gone.directory().await;
    // The group is at work, and the fourth waits.
    let of_late = late.advertise().await;
    gone.client.leave().await;
    // Two of three are too few. They are told, and invited again.
    let again = RoundId { round: 1, attempt: 1 };
    let mut group = Vec::new();
    for (number, participant) in all.iter_mut().enumerate() {
        let state = participant.advertise().await;
        assert_eq!(participant.round(), again);
        group.push((number, participant, state));
    }
    group.push((3, &mut late, of_late));
    finish(share(group).await).await;
    late.client.status(|status| status.model.round == 1).await;
    assert_eq!(late.round(), RoundId { round: 1, attempt: 0 });
    assert_eq!(late.group.map(|group| (group.round, group.weight)), Some((again, 1.0)));
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_knows_no_groups_is_refused() {
    let server = server(1).await;
    let mut client = server.client().await;
    client.hello().await;
    let mut capabilities = Capabilities::all();
    assert!(capabilities.algorithms.remove(ClientAlgorithm::MASKING_GROUPS));
    let ClientMessage::CheckIn { task, availability, subject, token, .. } = check_in("tiny") else {
        panic!("no check-in");
    };
    let message = ClientMessage::CheckIn { task, availability, subject, token, capabilities };
    client.send(message).await;
    let (refusal, _) = client.refusal().await;
    assert_eq!(refusal.code, RefusalCode::UnsupportedClient);
    assert!(refusal.message.contains("masking groups of buffered rounds"), "{}", refusal.message);
    server.stop().await;
}
