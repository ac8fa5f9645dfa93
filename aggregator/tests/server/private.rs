//! Rounds under a privacy policy, played by clients with real keys and real
//! noise: what survives, what is refused, what the ledger says.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use fedra_aggregator::config::Config;
use fedra_protocol::{
    AdvertisedKeys, Availability, ClientMessage, EncryptedShare, RefusalCode, RoundPhase, Scores,
    UpdateFault, UpdateVerdict,
};
use tempfile::TempDir;

use super::participant::{Participant, subject};
use super::support::{PARAMETERS, TestServer, announcement, check_in, config_with, get, update};

/// Noise that a mean over five hides in, and hardly more: a budget to match.
const DISTRIBUTED: &str = r#"
    policy = "distributed"
    noise_multiplier = 0.05
    clipping_norm = 4.0
    epsilon = 1e9
    delta = 1e-5
    step_deadline = "5s"
"#;

const FIVE: &str = r#"
    cohort_size = 5
    minimum_cohort = 5
    report_goal = 5
    minimum_reports = 3
    selection_window = "0s"
"#;

fn private(store: &Path, round: &str, privacy: &str, task: &str) -> Config {
    config_with(store, round, "", task, &format!("[task.privacy]\n{privacy}"))
}

async fn server(round: &str, privacy: &str, task: &str) -> TestServer {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let config = private(&folder.path().join("store"), round, privacy, task);
    TestServer::start_config(config, folder).await
}

/// Stage at which a participant leaves without a goodbye.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Leaves {
    BeforeSharing,
    BeforeMasking,
    BeforeUnmasking,
    Never,
}

/// Plays one round; participant i has the update [i, -i, 0.5] / [4, 4, 1].
async fn play(participants: Vec<Participant>, leaves: &[Leaves]) -> Vec<Participant> {
    let update = |number: usize| vec![number as f32 / 4.0, number as f32 / -4.0, 0.5];
    play_with(participants, leaves, update).await
}

/// Plays one round; participant i has `values(i)`.
async fn play_with(
    participants: Vec<Participant>,
    leaves: &[Leaves],
    values: impl Fn(usize) -> Vec<f32>,
) -> Vec<Participant> {
    let mut advertised = Vec::new();
    for mut participant in participants {
        let state = participant.advertise().await;
        advertised.push((participant, state));
    }
    let mut shared = Vec::new();
    for (number, (mut participant, state)) in advertised.into_iter().enumerate() {
        if leaves[number] > Leaves::BeforeSharing {
            let state = participant.share(state).await;
            shared.push((number, participant, state));
        }
    }
    let mut masked = Vec::new();
    for (number, mut participant, state) in shared {
        if leaves[number] > Leaves::BeforeMasking {
            let state = participant.mask(state, &values(number)).await;
            masked.push((number, participant, state));
        }
    }
    let mut left = Vec::new();
    for (number, mut participant, state) in masked {
        if leaves[number] > Leaves::BeforeUnmasking {
            participant.unmask(state).await;
            left.push(participant);
        }
    }
    left
}

fn close_to(actual: &[f32], expected: [f32; PARAMETERS]) {
    for (actual, expected) in actual.iter().zip(expected) {
        assert!((actual - expected).abs() < 1.0, "{actual:?} is not close to {expected:?}");
    }
}

#[tokio::test]
async fn a_masked_sum_becomes_the_mean_of_the_survivors() {
    use Leaves::{BeforeMasking, BeforeSharing, BeforeUnmasking, Never};
    for leaves in [
        [Never; 5],
        [BeforeSharing, Never, Never, Never, Never],
        [BeforeMasking, Never, Never, Never, Never],
        [BeforeSharing, BeforeMasking, Never, Never, Never],
        [BeforeUnmasking, Never, Never, Never, Never],
    ] {
        let server = server(FIVE, DISTRIBUTED, "rounds = 1").await;
        let before = server.parameters().await;
        let participants = Participant::join_all(&server, 5).await;
        let mut left = play(participants, &leaves).await;
        left[0].client.phase(RoundPhase::Finished).await;

        let survivors: Vec<f32> = (0_u8..)
            .zip(leaves)
            .filter(|(_, leaves)| *leaves >= BeforeUnmasking)
            .map(|(number, _)| f32::from(number) / 4.0)
            .collect();
        let mean = survivors.iter().sum::<f32>() / survivors.len() as f32;
        let after = server.parameters().await;
        let step: Vec<f32> = after.iter().zip(before).map(|(a, b)| a - b).collect();
        close_to(&step, [mean, -mean, 0.5]);

        let task = server.task().await;
        assert_eq!(task["history"][0]["reports"], survivors.len());
        assert_eq!(task["privacy"]["debits"], 1);
        assert!(task["privacy"]["spent_epsilon"].as_f64().expect("a number") > 0.0);
        let ledger = get(server.address, "/v1/tasks/tiny/privacy/ledger").await.text();
        let [entry] = crate::contract::entries(&ledger)[..] else { panic!("{ledger}") };
        assert!(entry.round == 1 && entry.subjects >= survivors.len() as u64, "{ledger}");
        assert!(!ledger.contains(&subject(1).to_string()), "the ledger names nobody");
        server.stop().await;
    }
}

#[tokio::test]
async fn masked_scores_become_their_mean_and_are_paid_for() {
    use Leaves::Never;
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let tables = format!(
        "[task.privacy]\n{DISTRIBUTED}\n[task.client_evaluation]\nevery = 1\nloss_bound = 2.0"
    );
    let config = config_with(&folder.path().join("store"), FIVE, "", "rounds = 2", &tables);
    let server = TestServer::start_config(config, folder).await;
    let participants = Participant::join_all(&server, 5).await;
    let mut participants = play(participants, &[Never; 5]).await;
    participants[0].client.status(|status| status.model.round == 1).await;
    let trained = server.parameters().await;
    for participant in &mut participants {
        let privacy = participant.privacy.for_evaluation(&participant.task.model);
        participant.privacy = privacy.expect("a sound policy");
    }
    // Losses of 0, 1/4 to 1, over their bound.
    let scores =
        |number: usize| Scores { loss: number as f64 / 4.0, accuracy: None }.protected(2.0);
    let mut left = play_with(participants, &[Never; 5], scores).await;
    assert!(left.iter().all(|of| of.round.as_ref().is_some_and(|round| round.evaluates)));
    left[0].client.phase(RoundPhase::Finished).await;
    let task = server.task().await;
    let loss = task["latest_by_clients"]["loss"].as_f64().expect("a number");
    assert!((loss - 0.5).abs() < 0.1, "the mean of the plain losses, and little noise: {loss}");
    assert_eq!(task["privacy"]["debits"], 2);
    assert_eq!(task["privacy"]["clipping_norm"], 4.0, "that of updates");
    assert_eq!(server.parameters().await, trained, "nothing was trained");
    let ledger = get(server.address, "/v1/tasks/tiny/privacy/ledger").await.text();
    let [first, second] = &crate::contract::entries(&ledger)[..] else { panic!("{ledger}") };
    assert_eq!((first.round, second.round, second.subjects), (1, 2, 5));
    server.stop().await;
}

#[tokio::test]
async fn a_round_below_the_minimum_is_abandoned_and_reveals_nothing() {
    // Three of five leave: before they share keys, or after they were asked for
    // masked updates, when the round has been paid for.
    for debits in [0, 1] {
        let server = server(FIVE, DISTRIBUTED, "").await;
        let before = server.parameters().await;
        let mut advertised = Vec::new();
        for mut participant in Participant::join_all(&server, 5).await {
            let state = participant.advertise().await;
            advertised.push((participant, state));
        }
        let mut left = Vec::new();
        for (mut participant, state) in advertised {
            if debits > 0 {
                participant.share(state).await;
            }
            left.push(participant);
        }
        if debits > 0 {
            left[4].mask_request().await;
        }
        let mut watcher = left.pop().expect("five");
        left.truncate(1);
        let status = watcher.client.status(|status| status.round.attempt == 1).await;
        assert_eq!(status.phase, RoundPhase::Selecting);
        assert_eq!(server.parameters().await, before);
        assert_eq!(server.task().await["privacy"]["debits"], debits);
        server.stop().await;
    }
}

#[tokio::test]
async fn answers_out_of_turn_are_refused_and_named() {
    let server = server(FIVE, DISTRIBUTED, "").await;
    let mut participants = Participant::join_all(&server, 5).await;
    let (mut first, mut second) = (participants.remove(0), participants.remove(0));
    let round = first.invited().await;
    // An update in the clear, before anything is masked.
    let plain = update(&[1.0; PARAMETERS]);
    first.client.begin(announcement(round, &plain, 1)).await;
    let outcome = first.client.outcome().await;
    assert_eq!(outcome.verdict, UpdateVerdict::Rejected(UpdateFault::WrongStep));
    // Shares before there is a directory end a client's part.
    second.invited().await;
    second.client.send(ClientMessage::ShareKeys { round, shares: vec![] }).await;
    let outcome = second.client.outcome().await;
    assert_eq!(outcome.verdict, UpdateVerdict::Rejected(UpdateFault::WrongStep));
    let _ = second.advertise_again().await;
    let outcome = second.client.outcome().await;
    assert_eq!(outcome.verdict, UpdateVerdict::Rejected(UpdateFault::Duplicate));
    server.stop().await;
}

impl Participant {
    /// Sends keys for the round that it is in.
    async fn advertise_again(&mut self) {
        let keys = AdvertisedKeys { encryption: [1; 32], masking: [2; 32] };
        let round = self.round();
        self.client.send(ClientMessage::AdvertiseKeys { round, keys }).await;
    }
}

#[tokio::test]
async fn keys_of_low_order_and_foreign_shares_cost_only_their_sender() {
    let server = server(FIVE, DISTRIBUTED, "rounds = 1").await;
    let mut participants = Participant::join_all(&server, 5).await;
    let mut bad_keys = participants.remove(0);
    let mut bad_shares = participants.remove(0);
    let round = bad_keys.invited().await;
    let zero = AdvertisedKeys { encryption: [0; 32], masking: [0; 32] };
    bad_keys.client.send(ClientMessage::AdvertiseKeys { round, keys: zero }).await;
    let _ = bad_shares.advertise().await;
    let mut advertised = Vec::new();
    for mut participant in participants {
        let state = participant.advertise().await;
        advertised.push((participant, state));
    }
    let outcome = bad_keys.client.outcome().await;
    assert_eq!(outcome.verdict, UpdateVerdict::Rejected(UpdateFault::InvalidKeys));
    let directory = bad_shares.directory().await;
    assert_eq!(directory.cohort, 4, "the low-order keys are not in the cohort");
    let shares = vec![EncryptedShare { peer: 99, ciphertext: vec![0; 80] }];
    bad_shares.client.send(ClientMessage::ShareKeys { round, shares }).await;
    let outcome = bad_shares.client.outcome().await;
    assert_eq!(outcome.verdict, UpdateVerdict::Rejected(UpdateFault::InvalidShares));
    let mut masked = Vec::new();
    for (mut participant, state) in advertised {
        let state = participant.share(state).await;
        masked.push((participant, state));
    }
    let mut unmasking = Vec::new();
    for (mut participant, state) in masked {
        let state = participant.mask(state, &[0.5, 0.5, 0.5]).await;
        unmasking.push((participant, state));
    }
    for (participant, state) in &mut unmasking {
        let request = participant.unmask_request().await;
        assert_eq!(request.survivors.len(), 3);
        let _ = (participant, state);
    }
    server.stop().await;
}

#[tokio::test]
async fn local_noise_is_debited_before_anybody_is_invited() {
    let privacy = r#"
        policy = "local"
        noise_multiplier = 0.05
        clipping_norm = 4.0
        epsilon = 1e9
        delta = 1e-5
    "#;
    let server = server(FIVE, privacy, "rounds = 1").await;
    let before = server.parameters().await;
    let mut participants = Participant::join_all(&server, 5).await;
    for (number, participant) in participants.iter_mut().enumerate() {
        participant.invited().await;
        assert_eq!(server.task().await["privacy"]["debits"], 1);
        let value = number as f32 / 4.0;
        let words = participant.encode(&[value, -value, 0.5]);
        participant.upload(&words, UpdateVerdict::Accepted).await;
    }
    participants[0].client.phase(RoundPhase::Finished).await;
    let after = server.parameters().await;
    let step: Vec<f32> = after.iter().zip(before).map(|(a, b)| a - b).collect();
    close_to(&step, [0.5, -0.5, 0.5]);
    server.stop().await;
}

#[tokio::test]
async fn a_central_server_clips_and_weighs_everybody_the_same() {
    let privacy = r#"
        policy = "central"
        noise = "independent"
        noise_multiplier = 0.001
        clipping_norm = 1.0
        target_quantile = 0.5
        epsilon = 1e12
        delta = 1e-5
    "#;
    let server = server(FIVE, privacy, "rounds = 1").await;
    let before = server.parameters().await;
    let mut participants = Participant::join_all(&server, 5).await;
    for participant in &mut participants {
        let round = participant.invited().await;
        let heavy = participant.client.report(round, &[30.0, 40.0, 0.0], 1).await;
        assert_eq!(heavy.verdict, UpdateVerdict::Accepted);
    }
    participants[0].client.phase(RoundPhase::Finished).await;
    let after = server.parameters().await;
    let step: Vec<f32> = after.iter().zip(before).map(|(a, b)| a - b).collect();
    for (actual, expected) in step.iter().zip([0.6, 0.8, 0.0]) {
        assert!((actual - expected).abs() < 0.01, "{step:?}");
    }
    // No participant was within the norm: it grows.
    let clip = server.task().await["privacy"]["clipping_norm"].as_f64().expect("a number");
    assert!((1.05..1.2).contains(&clip), "{clip}");
    server.stop().await;
}

#[tokio::test]
async fn under_a_policy_a_weight_is_one() {
    let privacy = r#"
        policy = "central"
        noise = "independent"
        noise_multiplier = 1.0
        clipping_norm = 1.0
        epsilon = 100
        delta = 1e-5
    "#;
    let server = server(FIVE, privacy, "").await;
    let mut participants = Participant::join_all(&server, 5).await;
    let round = participants[0].invited().await;
    let plain = update(&[1.0; PARAMETERS]);
    participants[0].client.begin(announcement(round, &plain, 2)).await;
    let outcome = participants[0].client.outcome().await;
    assert_eq!(outcome.verdict, UpdateVerdict::Rejected(UpdateFault::WeightOutOfRange));
    server.stop().await;
}

#[tokio::test]
async fn without_a_subject_there_is_no_way_into_a_private_task() {
    let server = server(FIVE, DISTRIBUTED, "").await;
    let mut client = server.client().await;
    client.hello().await;
    client.send(check_in("tiny")).await;
    let (refusal, _) = client.refusal().await;
    assert_eq!(refusal.code, RefusalCode::UnexpectedMessage);
    assert!(refusal.message.contains("subject"), "{}", refusal.message);
    server.stop().await;
}

#[tokio::test]
async fn an_observer_of_a_private_task_needs_no_subject_until_it_takes_part() {
    let server = server(FIVE, DISTRIBUTED, "").await;
    let mut client = server.client().await;
    let checked_in = client.observe("tiny").await;
    assert!(checked_in.task.privacy.is_some());
    client.pong(1).await;
    client.send(ClientMessage::SetAvailability(Availability::Available)).await;
    let (refusal, _) = client.refusal().await;
    assert_eq!(refusal.code, RefusalCode::UnexpectedMessage);
    assert!(refusal.message.contains("subject"), "{}", refusal.message);
    server.stop().await;
}

#[tokio::test]
async fn the_later_connection_of_a_subject_replaces_the_earlier() {
    let server = server(FIVE, DISTRIBUTED, "").await;
    let mut earlier = Participant::join(&server, 1).await;
    let mut later = Participant::join(&server, 1).await;
    let (refusal, _) = earlier.client.refusal().await;
    assert_eq!(refusal.code, RefusalCode::Replaced);
    later.client.pong(1).await;
    let connected = later.client.status(|status| status.clients_connected == 1).await;
    assert_eq!(connected.phase, RoundPhase::Selecting);
    server.stop().await;
}

#[tokio::test]
async fn the_budget_ends_the_task_and_a_cap_ends_a_subjects_part() {
    // Rounds are counted: one fits.
    let privacy = DISTRIBUTED.replace("0.05", "1.0").replace("1e9", "6.0");
    let one_round = server(FIVE, &privacy, "").await;
    let mut left = play(Participant::join_all(&one_round, 5).await, &[Leaves::Never; 5]).await;
    let finished = left[0].client.phase(RoundPhase::Finished).await;
    assert_eq!(finished.round.round, 1);
    let spent = finished.privacy_spent_epsilon.expect("a policy");
    assert!((4.0..6.0).contains(&spent), "{spent}");
    one_round.stop().await;

    // Subjects are counted: new ones may go on.
    let privacy = format!("{privacy}\nmax_participations = 1");
    let capped = server(FIVE, &privacy, "").await;
    let mut left = play(Participant::join_all(&capped, 5).await, &[Leaves::Never; 5]).await;
    left[0].client.status(|status| status.round.round == 2).await;
    let mut fresh = Vec::new();
    for number in 10..15 {
        fresh.push(Participant::join(&capped, number).await);
    }
    for participant in &mut fresh {
        assert_eq!(participant.invited().await.round, 2);
    }
    let mut again = capped.client().await;
    let spent = again.check_in_as("tiny", Some(subject(0))).await;
    assert_eq!(spent.status.round.round, 2);
    again.pong(1).await;
    capped.stop().await;
}

#[tokio::test]
async fn a_member_that_pauses_between_steps_is_not_waited_for() {
    // With a deadline that no test would sit out.
    let privacy = DISTRIBUTED.replace("5s", "1h");
    let server = server(FIVE, &privacy, "rounds = 1").await;
    let participants = Participant::join_all(&server, 5).await;
    let mut advertised = Vec::new();
    for mut participant in participants {
        let state = participant.advertise().await;
        advertised.push((participant, state));
    }
    let (mut paused, _) = advertised.remove(0);
    paused.client.send(ClientMessage::SetAvailability(Availability::Paused)).await;
    paused.client.pong(1).await;
    let mut shared = HashMap::new();
    for (number, (mut participant, state)) in advertised.into_iter().enumerate() {
        let state = participant.share(state).await;
        shared.insert(number, (participant, state));
    }
    let (participant, _) = shared.get_mut(&0).expect("there");
    assert!(!participant.mask_request().await.shares.is_empty());
    server.stop().await;
}
