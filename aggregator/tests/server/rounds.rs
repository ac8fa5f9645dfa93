//! Rounds from invitation to the next model: averages, stragglers, deadlines,
//! over-selection, and what clients see of it.

use std::time::Duration;

use fedra_protocol::{
    Availability, ClientMessage, DeclineCause, RoundId, RoundPhase, StandbyCause, SubjectId,
    TaskStatus, UpdateFault, UpdateVerdict,
};

use crate::support::{PARAMETERS, TestServer, announcement, get, parameters, update};

const R1: RoundId = RoundId { round: 1, attempt: 0 };

#[tokio::test]
async fn a_round_makes_the_weighted_average() {
    let server = TestServer::start("cohort_size = 3").await;
    let start = server.parameters().await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(server.joined().await);
    }
    let deltas = [[1.0, -2.0, 0.5], [4.0, 2.0, 0.25], [0.0, 8.0, -1.0]];
    let weights = [1_u64, 3, 4];
    for ((client, delta), weight) in clients.iter_mut().zip(deltas).zip(weights) {
        let assignment = client.assignment().await;
        assert_eq!(assignment.round, R1);
        assert_eq!(assignment.model.round, 0);
        let file = get(server.address, &format!("/v1/{}", assignment.model.url)).await.body;
        assert_eq!(file.len() as u64, assignment.model.bytes);
        assert_eq!(fedra_protocol::Sha256Hash::of(&file), assignment.model.sha256);
        assert_eq!(parameters(&file), start);
        assert_eq!(client.report(R1, &delta, weight).await.verdict, UpdateVerdict::Accepted);
    }
    for client in &mut clients {
        let status = client.status(|status| status.model.round == 1).await;
        assert_eq!(status.round, RoundId { round: 2, attempt: 0 });
    }
    let mean = [13.0 / 8.0, 36.0 / 8.0, -2.75 / 8.0];
    let expected: Vec<f32> =
        start.iter().zip(mean).map(|(old, mean)| (f64::from(*old) + mean) as f32).collect();
    assert_eq!(server.parameters().await, expected);

    let task = server.task().await;
    assert_eq!(task["round"], 1);
    assert_eq!(task["clients_connected"], 3);
    let round = &task["history"][0];
    assert_eq!(round["reports"], 3);
    assert!(round["bytes_up"].as_u64().expect("a number") >= 3 * 4 * PARAMETERS as u64);
    assert!(round["bytes_down"].as_u64().expect("a number") > 0);
    // And the next round starts from the new model.
    let next = clients[0].assignment().await;
    assert_eq!((next.round.round, next.model.round), (2, 1));
    server.stop().await;
}

#[tokio::test]
async fn the_last_straggler_leaves() {
    let server = TestServer::start("cohort_size = 3\nminimum_reports = 2").await;
    let mut stay = [server.joined().await, server.joined().await];
    let straggler = server.joined().await;
    for client in &mut stay {
        client.take_part(&[1.0; 3], 1).await;
    }
    drop(straggler);
    let status = stay[0].status(|status| status.model.round == 1).await;
    assert_eq!(status.phase, RoundPhase::Selecting);
    server.stop().await;
}

#[tokio::test]
async fn a_client_can_pause_resume_and_decline() {
    let server = TestServer::start("cohort_size = 2\nminimum_reports = 1").await;
    let (mut a, mut b) = (server.joined().await, server.joined().await);
    a.assignment().await;
    b.assignment().await;
    a.send(ClientMessage::Decline { round: R1, reason: "test".to_owned(), cause: None }).await;
    let refused = a.stream_begin(R1).await;
    assert_eq!(refused, UpdateVerdict::Rejected(UpdateFault::NotInCohort));
    b.report(R1, &[1.0; 3], 1).await;
    b.assignment().await;

    a.assignment().await;
    a.send(ClientMessage::SetAvailability(Availability::Paused)).await;
    let round = RoundId { round: 2, attempt: 0 };
    b.report(round, &[1.0; 3], 1).await;
    let waits =
        |status: &TaskStatus| status.model.round == 2 && status.phase == RoundPhase::Selecting;
    let status = b.status(waits).await;
    assert_eq!(status.clients_connected, 2);
    a.send(ClientMessage::SetAvailability(Availability::Available)).await;
    assert_eq!(a.assignment().await.round.round, 3);
    server.stop().await;
}

#[tokio::test]
async fn an_observer_follows_rounds_and_is_invited_once_it_is_available() {
    let server = TestServer::start("cohort_size = 2\nminimum_cohort = 1").await;
    let mut observer = server.client().await;
    observer.observe("tiny").await;
    let mut participant = server.joined().await;
    participant.take_part(&[1.0; 3], 1).await;
    let status = observer.status(|status| status.model.round == 1).await;
    assert_eq!(status.clients_connected, 2);
    observer.send(ClientMessage::SetAvailability(Availability::Available)).await;
    // The round under way may have begun without it.
    let going_on = tokio::spawn(async move {
        loop {
            participant.take_part(&[1.0; 3], 1).await;
        }
    });
    observer.assignment().await;
    going_on.abort();
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_declines_again_and_again_is_left_out_and_told_so() {
    let rounds = "cohort_size = 3\nminimum_cohort = 2\nminimum_reports = 1";
    let server = TestServer::start(rounds).await;
    let others = [server.joined().await, server.joined().await].map(|mut client| {
        tokio::spawn(async move {
            loop {
                client.take_part(&[1.0; 3], 1).await;
            }
        })
    });
    let subject = Some(SubjectId::from_bytes([7; 16]));
    let mut a = server.client().await;
    a.check_in_as("tiny", subject).await;
    let standby = loop {
        match a.find_standby_or_invitation().await {
            Ok(standby) => break standby,
            Err(round) => {
                let (reason, cause) = ("no".to_owned(), Some(DeclineCause::TrainingFailed));
                a.send(ClientMessage::Decline { round, reason, cause }).await;
            }
        }
    };
    assert_eq!(standby.cause, StandbyCause::Declined);
    let wait = standby.retry_after;
    assert!(!wait.is_zero() && wait <= Duration::from_secs(30), "{standby:?}");
    assert!(standby.message.contains("declined"), "{standby:?}");
    // A return does not shorten the time.
    drop(a);
    let mut again = server.client().await;
    again.check_in_as("tiny", subject).await;
    let told = again.find_standby_or_invitation().await.expect("still left out");
    assert!(told.retry_after <= standby.retry_after, "{told:?}");
    others.iter().for_each(tokio::task::JoinHandle::abort);
    server.stop().await;
}

#[tokio::test]
async fn a_deadline_with_enough_reports_completes() {
    let server = TestServer::start("cohort_size = 2\nminimum_reports = 1\ndeadline = \"1s\"").await;
    let (mut a, mut b) = (server.joined().await, server.joined().await);
    a.take_part(&[1.0; 3], 1).await;
    let late = b.assignment().await.round;
    let status = b.status(|status| status.model.round == 1).await;
    assert!(status.round > late);
    let verdict = b.stream_begin(late).await;
    assert_eq!(verdict, UpdateVerdict::Discarded(UpdateFault::RoundOver));
    server.stop().await;
}

#[tokio::test]
async fn a_deadline_with_too_few_reports_is_followed_by_another_attempt() {
    let server = TestServer::start("cohort_size = 2\ndeadline = \"1s\"").await;
    let start = server.parameters().await;
    let (mut a, mut b) = (server.joined().await, server.joined().await);
    a.take_part(&[1.0; 3], 1).await;
    let second = RoundId { round: 1, attempt: 1 };
    assert_eq!(a.assignment().await.round, second);
    assert_eq!(b.assignment().await.round, R1);
    assert_eq!(b.assignment().await.round, second);
    assert_eq!(server.parameters().await, start);
    // What was folded in the first attempt is forgotten.
    a.report(second, &[2.0; 3], 1).await;
    b.report(second, &[4.0; 3], 1).await;
    a.status(|status| status.model.round == 1).await;
    let expected: Vec<f32> = start.iter().map(|old| old + 3.0).collect();
    assert_eq!(server.parameters().await, expected);
    server.stop().await;
}

#[tokio::test]
async fn over_selection_discards_the_late() {
    let round = "cohort_size = 2\nover_selection = 0.5\nminimum_cohort = 2\nminimum_reports = 2\n\
                 selection_window = \"20s\"";
    let server = TestServer::start(round).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(server.joined().await);
    }
    let mut late = clients.pop().expect("three");
    // The late one is in the middle of its upload when the goal is reached.
    let update = update(&[1.0; 3]);
    late.assignment().await;
    late.announce(R1, &update, 1).await;
    late.chunk(R1, 0, update.slice(..4)).await;
    for client in &mut clients {
        client.take_part(&[1.0; 3], 1).await;
    }
    let outcome = late.outcome().await;
    assert_eq!(outcome.verdict, UpdateVerdict::Discarded(UpdateFault::RoundOver));
    // The rest of it is passed over in silence, and the session is alive.
    late.chunk(R1, 4, update.slice(4..)).await;
    late.pong(5).await;
    late.status(|status| status.model.round == 1).await;
    let task = server.task().await;
    assert_eq!(task["history"][0]["reports"], 2);
    server.stop().await;
}

#[tokio::test]
async fn a_finished_task_still_takes_check_ins_and_shows_its_model() {
    let server = TestServer::start_rounds("cohort_size = 1", 1).await;
    let mut client = server.joined().await;
    client.take_part(&[1.0; 3], 1).await;
    let status = client.phase(RoundPhase::Finished).await;
    assert_eq!((status.model.round, status.rounds_total), (1, Some(1)));
    client.pong(1).await;
    let mut other = server.client().await;
    let checked_in = other.check_in("tiny").await;
    assert_eq!(checked_in.status.phase, RoundPhase::Finished);
    assert_eq!(checked_in.status.model, status.model);
    assert_eq!(server.task().await["state"], "finished");
    server.stop().await;
}

#[tokio::test]
async fn a_stopping_server_says_goodbye() {
    let server = TestServer::start("cohort_size = 1").await;
    let mut client = server.joined().await;
    let stopped = tokio::spawn(server.stop());
    assert_eq!(u16::from(client.closed().await.code), 1001);
    drop(client);
    stopped.await.expect("stops");
}

/// The connection breaks twice: in the upload, and before the verdict was heard.
#[tokio::test]
async fn an_upload_goes_on_where_its_connection_broke() {
    let limits = "[server.limits]\nupload_grace = \"10m\"";
    let round = "cohort_size = 2\nreconnect_grace = \"10m\"";
    let server = TestServer::start_with(round, limits).await;
    let start = server.parameters().await;
    let subject = Some(SubjectId::from_bytes([7; 16]));
    let update = update(&[1.0, -2.0, 0.5]);
    let mut other = server.joined().await;
    let mut client = server.client().await;
    client.check_in_as("tiny", subject).await;
    client.assignment().await;
    client.announce(R1, &update, 1).await;
    client.chunk(R1, 0, update.slice(..4)).await;
    client.pong(1).await;
    drop(client);

    let mut client = server.client().await;
    client.check_in_as("tiny", subject).await;
    assert_eq!(client.assignment().await.round, R1);
    client.begin(announcement(R1, &update, 1)).await;
    assert_eq!(client.upload_ready().await, (R1, 4));
    client.chunk(R1, 4, update.slice(4..)).await;
    other.status(|status| status.reported == 1).await;
    drop(client);

    let mut client = server.client().await;
    client.check_in_as("tiny", subject).await;
    client.begin(announcement(R1, &update, 1)).await;
    assert_eq!(client.outcome().await.verdict, UpdateVerdict::Accepted);
    other.take_part(&[3.0, 0.0, 0.5], 1).await;
    other.status(|status| status.model.round == 1).await;
    let moved = start.iter().zip([2.0, -1.0, 0.5]).map(|(start, by)| start + by);
    assert_eq!(server.parameters().await, moved.collect::<Vec<_>>());
    server.stop().await;
}

/// Other clients may complete many buffered rounds while a client is away for a moment.
#[tokio::test]
async fn in_buffered_rounds_a_client_comes_back_to_its_invitation() {
    let round = "cohort_size = 2\nreport_goal = 1\nminimum_cohort = 1\nminimum_reports = 1\n\
                 mode = \"buffered\"\nmax_staleness = 10\nreconnect_grace = \"10m\"";
    let server = TestServer::start(round).await;
    let subject = Some(SubjectId::from_bytes([7; 16]));
    let mut client = server.client().await;
    client.check_in_as("tiny", subject).await;
    let invited = client.assignment().await.round;
    drop(client);
    let mut other = server.joined().await;
    for _ in 0..4 {
        other.take_part(&[1.0; PARAMETERS], 1).await;
    }
    let mut client = server.client().await;
    client.check_in_as("tiny", subject).await;
    let outcome = client.report(invited, &[1.0; PARAMETERS], 1).await;
    assert_eq!(outcome.verdict, UpdateVerdict::Accepted, "{outcome:?}");
    server.stop().await;
}

#[tokio::test]
async fn updates_wait_for_room_in_the_budget() {
    // Room for one tiny update at a time.
    let server = TestServer::start_with("cohort_size = 2", "upload_budget = \"1KiB\"").await;
    let (mut a, mut b) = (server.joined().await, server.joined().await);
    let update = update(&[1.0; 3]);
    a.assignment().await;
    b.assignment().await;
    a.announce(R1, &update, 1).await;
    b.begin(announcement(R1, &update, 1)).await;
    // No room: the ping is answered, the announcement is not.
    b.pong(1).await;
    a.chunk(R1, 0, update.clone()).await;
    assert_eq!(a.outcome().await.verdict, UpdateVerdict::Accepted);
    b.upload_ready().await;
    b.chunk(R1, 0, update).await;
    assert_eq!(b.outcome().await.verdict, UpdateVerdict::Accepted);
    server.stop().await;
}
