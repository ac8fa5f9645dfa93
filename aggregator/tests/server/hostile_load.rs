//! Hostile clients that are slow, many, deaf or without end, while honest clients
//! play their round. `cargo xtask hostile` does the same with more of them, and
//! weighs the server.

use fedra_protocol::limits::MAX_MESSAGE_BYTES;
use fedra_protocol::{ClientMessage, Hello, PROTOCOL_VERSION, RefusalCode};
use futures_util::future::{join_all, select_all};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Duration, interval};

use crate::hostile::{assert_alive, close_code, frame, rest, upgraded};
use crate::support::{TestClient, TestServer, check_in, metric, soon};

/// Rounds of two honest clients; any other client is invited as well, if there is
/// a place.
const PAIR: &str = "cohort_size = 2\nminimum_cohort = 2\nminimum_reports = 2";
/// Bytes of one piece of a message that comes in pieces.
const PIECE: usize = 64 << 10;
/// Time between two bytes of a slow client.
const DRIP: Duration = Duration::from_millis(5);

/// Sends `bytes` one by one until the server has had enough. Returns what it said.
async fn drip(mut stream: TcpStream, bytes: impl Iterator<Item = u8>) -> Vec<u8> {
    let (mut reader, mut writer) = stream.split();
    let mut said = Vec::new();
    let slowly = async {
        let mut pace = interval(DRIP);
        for byte in bytes {
            pace.tick().await;
            if writer.write_all(&[byte]).await.is_err() {
                return;
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = slowly => {}
        // A reset is an end as well.
        _ = reader.read_to_end(&mut said) => {}
    }
    said
}

/// The messages up to a check-in, framed.
fn introduction() -> Vec<u8> {
    let hello = Hello { versions: vec![PROTOCOL_VERSION], software: String::new() };
    [ClientMessage::Hello(hello), check_in("tiny")].map(|m| frame(&m.encode())).concat()
}

/// A connection that has checked in and is left alone.
async fn checked_in(server: &TestServer) -> TcpStream {
    let mut stream = upgraded(server).await;
    soon(stream.write_all(&introduction())).await.expect("writes");
    stream
}

/// Reads until the server has said `words`; returns all of it.
async fn until_told(stream: &mut TcpStream, words: &[u8]) -> Vec<u8> {
    let mut told = Vec::new();
    while !told.windows(words.len()).any(|some| some == words) {
        let read = soon(stream.read_buf(&mut told)).await.expect("reads");
        assert!(read > 0, "closed");
    }
    told
}

/// The first bytes of a frame with a large payload; `first` is opcode and final bit.
fn large(first: u8, length: usize) -> Vec<u8> {
    let mut head = vec![first, 0x80 | 127];
    head.extend((length as u64).to_be_bytes());
    head.extend([0; 4]);
    head
}

/// The first round, which two honest clients are in.
async fn play(a: &mut TestClient, b: &mut TestClient) {
    a.take_part(&[1.0; 3], 1).await;
    b.take_part(&[1.0; 3], 1).await;
    a.status(|status| status.model.round == 1).await;
}

/// Waits until only `honest` clients and the question itself are connected.
async fn until_alone(server: &TestServer, honest: u64) {
    soon(async {
        while metric(server.address, "fedra_connections").await > honest + 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_request_that_drips_in_is_cut_off_while_a_round_goes_on() {
    let server = TestServer::start_with(PAIR, "handshake_timeout = \"2s\"").await;
    let head = b"GET /v1/tasks HTTP/1.1\r\nhost: test\r\nx-slow: ";
    let slow = join_all((0..20).map(|_| async {
        let stream = soon(TcpStream::connect(server.address)).await.expect("connects");
        drip(stream, head.iter().copied().chain(std::iter::repeat(b'x'))).await
    }));
    let (said, ()) = soon(async { tokio::join!(slow, assert_alive(&server)) }).await;
    for said in said {
        let text = String::from_utf8_lossy(&said);
        assert!(said.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_message_that_drips_in_before_the_check_in_times_out() {
    let server = TestServer::start_with(PAIR, "handshake_timeout = \"2s\"").await;
    let bytes = large(0x82, MAX_MESSAGE_BYTES).into_iter().chain(std::iter::repeat(0));
    let said = soon(drip(upgraded(&server).await, bytes)).await;
    assert_eq!(close_code(&said), Some(RefusalCode::Timeout.close_code()));
    assert_alive(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn a_message_that_drips_in_after_the_check_in_times_out() {
    let server = TestServer::start_with(PAIR, "idle_timeout = \"2s\"").await;
    let bytes = large(0x82, MAX_MESSAGE_BYTES).into_iter().chain(std::iter::repeat(0));
    let said = soon(drip(checked_in(&server).await, bytes)).await;
    assert_eq!(close_code(&said), Some(RefusalCode::Timeout.close_code()));
    assert_alive(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn a_message_in_more_pieces_than_it_may_have_is_refused() {
    let server = TestServer::start(PAIR).await;
    let mut stream = checked_in(&server).await;
    let mut opcode = 0x02;
    for _ in 0..=MAX_MESSAGE_BYTES / PIECE {
        let piece = [large(opcode, PIECE), vec![0; PIECE]].concat();
        // The server may have closed before the last piece.
        if soon(stream.write_all(&piece)).await.is_err() {
            break;
        }
        opcode = 0x00;
    }
    assert_eq!(close_code(&rest(stream).await), Some(1009));
    assert_alive(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn a_message_that_never_ends_is_given_up_whatever_signs_of_life_come_with_it() {
    let server = TestServer::start_with(PAIR, "idle_timeout = \"2s\"").await;
    let mut stream = checked_in(&server).await;
    let mut welcome = until_told(&mut stream, b"A tiny task").await;
    // The first piece of a message, and pongs for ever.
    let piece = [&[0x02, 0x80 | 100, 0, 0, 0, 0], [0; 100].as_slice()].concat();
    soon(stream.write_all(&piece)).await.expect("writes");
    let pongs = std::iter::repeat([0x8a, 0x80, 0, 0, 0, 0]).flatten();
    welcome.extend(soon(drip(stream, pongs)).await);
    assert_eq!(close_code(&welcome), Some(RefusalCode::Timeout.close_code()));
    assert_alive(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn answers_of_a_network_stack_do_not_keep_a_session_alive() {
    let server = TestServer::start_with(PAIR, "idle_timeout = \"2s\"").await;
    let mut stream = checked_in(&server).await;
    let mut said = until_told(&mut stream, b"A tiny task").await;
    let pongs = std::iter::repeat([0x8a, 0x80, 0, 0, 0, 0]).flatten();
    said.extend(soon(drip(stream, pongs)).await);
    assert_eq!(close_code(&said), Some(RefusalCode::Timeout.close_code()));
    server.stop().await;
}

#[tokio::test]
async fn there_is_room_for_a_few_large_messages_that_nobody_asked_for_and_no_more() {
    // An eighth of the budget: three times this much is too much.
    let server = TestServer::start_with(PAIR, "upload_budget = \"1MiB\"").await;
    let mut said = Vec::new();
    for _ in 0..3 {
        let mut stream = checked_in(&server).await;
        let piece = [large(0x02, PIECE), vec![0; PIECE]].concat();
        // A refused client may find the connection closed.
        let _ = soon(stream.write_all(&piece)).await;
        said.push(Box::pin(rest(stream)));
    }
    let (first, _, others) = soon(select_all(said)).await;
    assert_eq!(close_code(&first), Some(RefusalCode::Overloaded.close_code()));
    drop(others);
    assert_alive(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn whoever_asks_and_does_not_listen_is_dropped_and_holds_up_nobody() {
    let server = TestServer::start_with(PAIR, "idle_timeout = \"2s\"").await;
    let (mut a, mut b) = (server.joined().await, server.joined().await);
    let mut deaf = checked_in(&server).await;
    let asks = frame(&ClientMessage::Ping { nonce: u64::MAX }.encode()).repeat(1000);
    let asking = async { while deaf.write_all(&asks).await.is_ok() {} };
    let round = play(&mut a, &mut b);
    soon(async { tokio::join!(asking, round) }).await;
    drop((a, b));
    until_alone(&server, 0).await;
    assert_alive(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn a_flood_over_the_cap_reaches_nobody_who_is_there() {
    let server =
        TestServer::start_with(PAIR, "max_connections = 12\nhandshake_timeout = \"2s\"").await;
    let (mut a, mut b) = (server.joined().await, server.joined().await);
    // Ten find a place, and keep it for the two seconds: even if the server should
    // get round to the others only then, and again, all have had their turn in time.
    let flood = join_all((0..100).map(|_| async {
        // Beyond the few that are told, a connection is just dropped.
        if let Ok(stream) = soon(TcpStream::connect(server.address)).await {
            rest(stream).await;
        }
    }));
    soon(async { tokio::join!(flood, play(&mut a, &mut b)) }).await;
    // When it is over, there is room again.
    until_alone(&server, 2).await;
    assert!(metric(server.address, "fedra_connections_refused_total").await > 0);
    a.pong(1).await;
    b.pong(2).await;
    server.stop().await;
}

/// One garbage session in five variations.
async fn garbage(server: &TestServer, number: usize) {
    let noise = [0xff; 200];
    match number % 5 {
        0 => {
            let mut stream = soon(TcpStream::connect(server.address)).await.expect("connects");
            let _ = soon(stream.write_all(&noise)).await;
            rest(stream).await;
        }
        1 => {
            let mut stream = upgraded(server).await;
            let _ = soon(stream.write_all(&noise)).await;
            rest(stream).await;
        }
        2 => {
            let mut stream = upgraded(server).await;
            let _ = soon(stream.write_all(&frame(&noise[..100]))).await;
            rest(stream).await;
        }
        3 => {
            let mut stream = checked_in(server).await;
            let _ = soon(stream.write_all(&frame(&noise[..100]))).await;
            rest(stream).await;
        }
        // Gone before it has said anything.
        _ => drop(TestClient::connect(server.address).await),
    }
}

#[tokio::test]
async fn a_thousand_garbage_sessions_leave_nothing_behind() {
    let server = TestServer::start(
        "cohort_size = 400\nminimum_cohort = 2\nminimum_reports = 2\n\
         deadline = \"2s\"",
    )
    .await;
    let (mut a, mut b) = (server.joined().await, server.joined().await);
    let strangers = async {
        for hundred in 0..10 {
            join_all((0..100).map(|number| garbage(&server, hundred * 100 + number))).await;
        }
    };
    soon(async { tokio::join!(strangers, play(&mut a, &mut b)) }).await;
    until_alone(&server, 2).await;
    let malformed = "fedra_refusals_total{code=\"malformed-message\"}";
    let refused = metric(server.address, malformed).await;
    assert!(refused >= 400, "{refused}");
    assert_eq!(metric(server.address, "fedra_upload_bytes_in_flight").await, 0);
    a.pong(1).await;
    b.pong(2).await;
    server.stop().await;
}
