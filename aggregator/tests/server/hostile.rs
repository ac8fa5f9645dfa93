//! Messages of hostile clients: each gets a typed refusal, a typed outcome or a
//! clean close, and the next round takes place all the same.

use bytes::Bytes;
use fedra_protocol::limits::{MAX_MESSAGE_BYTES, MAX_PARAMETERS};
use fedra_protocol::{
    Availability, Capabilities, ClientMessage, Hello, RefusalCode, RoundId, TaskId, UpdateBegin,
    UpdateChunk, UpdateFault, UpdateVerdict,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{
    TestClient, TestServer, announcement, check_in, get, metric, soon, update, upgrading,
};

/// Rounds with one hostile and one honest client.
const DUEL: &str = "cohort_size = 2\nminimum_reports = 1\nmax_weight = 1000";

async fn refused(client: &mut TestClient) -> (RefusalCode, u16) {
    let (refusal, close) = client.refusal().await;
    assert!(!refusal.message.is_empty());
    (refusal.code, close.code.into())
}

fn binary(bytes: impl Into<Bytes>) -> Message {
    Message::Binary(bytes.into())
}

/// The server still makes rounds.
pub(crate) async fn assert_alive(server: &TestServer) {
    let before = server.task().await["round"].as_u64().expect("a number");
    let (mut a, mut b) = (server.joined().await, server.joined().await);
    a.take_part(&[1.0; 3], 1).await;
    b.take_part(&[1.0; 3], 1).await;
    a.status(|status| status.model.round == before + 1).await;
}

#[tokio::test]
async fn garbage_messages_are_refused() {
    let server = TestServer::start(DUEL).await;
    let hello = ClientMessage::Hello(Hello { versions: vec![1], software: "x".repeat(40) });
    let truncated = hello.encode().slice(..20);
    let garbage = [
        binary(Bytes::from_static(b"\xff\xfe\x00\x01garbage")),
        binary(Bytes::new()),
        binary(truncated.clone()),
        Message::Text("{}".into()),
    ];
    for message in garbage {
        let mut first = server.client().await;
        first.send_raw(message.clone()).await;
        assert_eq!(refused(&mut first).await, (RefusalCode::MalformedMessage, 4002));
        let mut later = server.joined().await;
        later.send_raw(message).await;
        assert_eq!(refused(&mut later).await, (RefusalCode::MalformedMessage, 4002));
    }
    assert_alive(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn an_oversized_message_is_refused() {
    let server = TestServer::start(DUEL).await;
    for extra in [1, 1 << 20] {
        let mut client = server.joined().await;
        client.send_raw(binary(vec![0; MAX_MESSAGE_BYTES + extra])).await;
        assert_eq!(refused(&mut client).await, (RefusalCode::MessageTooLarge, 1009));
    }
    assert_alive(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn wrong_version_task_and_order_are_refused() {
    let server = TestServer::start(DUEL).await;
    let mut client = server.client().await;
    let hello = Hello { versions: vec![2, 99], software: String::new() };
    client.send(ClientMessage::Hello(hello.clone())).await;
    assert_eq!(refused(&mut client).await, (RefusalCode::UnsupportedVersion, 4001));

    let mut client = server.client().await;
    client.hello().await;
    client.send(check_in("elsewhere")).await;
    assert_eq!(refused(&mut client).await, (RefusalCode::UnknownTask, 4005));

    let mut client = server.client().await;
    client.send(check_in("tiny")).await;
    assert_eq!(refused(&mut client).await, (RefusalCode::UnexpectedMessage, 4003));

    for again in [ClientMessage::Hello(hello), check_in("tiny")] {
        let mut client = server.joined().await;
        client.send(again).await;
        assert_eq!(refused(&mut client).await, (RefusalCode::UnexpectedMessage, 4003));
    }
    assert_alive(&server).await;
    server.stop().await;
}

/// A connection on which the WebSocket handshake is done and nothing else.
pub(crate) async fn upgraded(server: &TestServer) -> TcpStream {
    let (answer, stream) = upgrading(server.address, "").await;
    assert_eq!(answer.status, 101);
    stream
}

/// A binary frame of less than 64 KiB as a client sends it, with a mask of zeros.
pub(crate) fn frame(payload: &[u8]) -> Vec<u8> {
    let length = match u8::try_from(payload.len()) {
        Ok(short) if short < 126 => vec![0x80 | short],
        _ => {
            let [high, low] = u16::try_from(payload.len()).expect("not long").to_be_bytes();
            vec![0x80 | 126, high, low]
        }
    };
    [&[0x82], &length[..], &[0; 4], payload].concat()
}

/// Everything that the server still has to say.
pub(crate) async fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    // A reset is an end as well.
    let _ = soon(stream.read_to_end(&mut rest)).await;
    rest
}

pub(crate) fn close_code(mut rest: &[u8]) -> Option<u16> {
    loop {
        let (head, body) = rest.split_at_checked(2)?;
        let (length, body) = match head[1] {
            126 => {
                let (length, body) = body.split_at_checked(2)?;
                (u16::from_be_bytes(length.try_into().ok()?).into(), body)
            }
            short => (usize::from(short), body),
        };
        if head[0] == 0x88 {
            return Some(u16::from_be_bytes(body.get(..2)?.try_into().ok()?));
        }
        rest = body.get(length..)?;
    }
}

#[tokio::test]
async fn bytes_that_are_not_websocket_close_with_1002() {
    let server = TestServer::start(DUEL).await;
    let noise = [
        vec![0xff; 64],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        // Not masked.
        vec![0x82, 0x03, 1, 2, 3],
        // A continuation of nothing.
        vec![0x80, 0x81, 0, 0, 0, 0, 7],
    ];
    for noise in noise {
        let mut stream = upgraded(&server).await;
        soon(stream.write_all(&noise)).await.expect("writes");
        assert_eq!(close_code(&rest(stream).await), Some(1002), "{noise:?}");
    }
    assert_alive(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn a_frame_cut_short_is_just_a_client_that_left() {
    let server = TestServer::start(DUEL).await;
    let mut stream = upgraded(&server).await;
    let hello = ClientMessage::Hello(Hello { versions: vec![1], software: String::new() });
    let whole = frame(&hello.encode());
    soon(stream.write_all(&whole[..whole.len() - 2])).await.expect("writes");
    drop(stream);
    assert_alive(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn silence_before_the_check_in_times_out() {
    let server = TestServer::start_with(DUEL, "handshake_timeout = \"300ms\"").await;
    let mut client = server.client().await;
    client.hello().await;
    assert_eq!(refused(&mut client).await, (RefusalCode::Timeout, 4008));
    // Nor does a connection that says nothing at all stay.
    let stream = soon(TcpStream::connect(server.address)).await.expect("connects");
    rest(stream).await;
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_know_what_a_task_needs_is_refused_before_anything_else() {
    let server = TestServer::start(DUEL).await;
    for (layers, algorithms, codecs, missing) in [
        (vec!["relu", "elu"], vec!["sgd"], vec!["f32"], "the layer linear"),
        (vec!["linear"], vec!["adam"], vec!["f32"], "the training algorithm sgd"),
        (vec!["linear"], vec!["sgd"], vec!["f16", "packed"], "the codec f32"),
    ] {
        let named = |names: Vec<&str>| names.into_iter().map(String::from).collect();
        for availability in [Availability::Available, Availability::Paused] {
            let mut client = server.client().await;
            client.hello().await;
            let capabilities = Capabilities {
                layers: named(layers.clone()),
                algorithms: named(algorithms.clone()),
                codecs: named(codecs.clone()),
                ..Capabilities::version_1()
            };
            let check_in = ClientMessage::CheckIn {
                task: TaskId::new("tiny").expect("valid"),
                availability,
                subject: None,
                token: None,
                capabilities,
            };
            client.send(check_in).await;
            let (refusal, close) = client.refusal().await;
            assert_eq!(
                (refusal.code, close.code.into()),
                (RefusalCode::UnsupportedClient, 4053_u16)
            );
            let expected = format!("this client does not know {missing}; update this client");
            assert_eq!((refusal.message, refusal.retry_after), (expected, None));
        }
    }
    // One that names none knows what the first version knows, and is in the round.
    let mut first = server.joined().await;
    let mut client = server.client().await;
    client.hello().await;
    let check_in = ClientMessage::CheckIn {
        task: TaskId::new("tiny").expect("valid"),
        availability: Availability::Available,
        subject: None,
        token: None,
        capabilities: Capabilities::version_1(),
    };
    client.send(check_in).await;
    first.assignment().await;
    client.assignment().await;
    server.stop().await;
}

#[tokio::test]
async fn a_dead_client_is_dropped_and_does_not_hold_up_the_round() {
    let server = TestServer::start_with(DUEL, "idle_timeout = \"600ms\"").await;
    let mut dead = upgraded(&server).await;
    let hello = ClientMessage::Hello(Hello { versions: vec![1], software: String::new() });
    for message in [hello, check_in("tiny")] {
        soon(dead.write_all(&frame(&message.encode()))).await.expect("writes");
    }
    let mut honest = server.joined().await;
    honest.take_part(&[1.0; 3], 1).await;
    // The dead one has its invitation and says nothing more.
    honest.status(|status| status.model.round == 1).await;
    honest.leave().await;
    assert_eq!(close_code(&rest(dead).await), Some(4008));
    assert_eq!(metric(server.address, "fedra_refusals_total{code=\"timeout\"}").await, 1);
    server.stop().await;
}

/// One way to send a bad update in a round that the client is invited to.
type Attack = fn(RoundId) -> (UpdateBegin, Vec<UpdateChunk>);

fn sound(round: RoundId) -> (UpdateBegin, Vec<UpdateChunk>) {
    with_values(round, &[1.0; 3])
}

fn with_values(round: RoundId, values: &[f32]) -> (UpdateBegin, Vec<UpdateChunk>) {
    let update = update(values);
    (announcement(round, &update, 1), vec![UpdateChunk::new(round, 0, update)])
}

fn with_weight(round: RoundId, examples: u64) -> (UpdateBegin, Vec<UpdateChunk>) {
    let (begin, _) = sound(round);
    (UpdateBegin { examples, ..begin }, vec![])
}

fn wrong_offset(round: RoundId) -> (UpdateBegin, Vec<UpdateChunk>) {
    let (begin, chunks) = sound(round);
    let chunks = chunks.into_iter().map(|chunk| UpdateChunk { offset: 4, ..chunk }).collect();
    (begin, chunks)
}

fn torn_chunk(round: RoundId) -> (UpdateBegin, Vec<UpdateChunk>) {
    let (begin, chunks) = sound(round);
    let tear = |chunk: UpdateChunk| UpdateChunk { crc32: !chunk.crc32, ..chunk };
    (begin, chunks.into_iter().map(tear).collect())
}

fn other_update(round: RoundId) -> (UpdateBegin, Vec<UpdateChunk>) {
    let (begin, _) = with_values(round, &[2.0; 3]);
    (begin, sound(round).1)
}

fn too_much(round: RoundId) -> (UpdateBegin, Vec<UpdateChunk>) {
    let (begin, _) = sound(round);
    (begin, with_values(round, &[1.0; 4]).1)
}

#[tokio::test]
async fn bad_updates_are_rejected_with_their_fault() {
    let attacks: [(UpdateFault, Attack); 12] = [
        (UpdateFault::WrongLength, |round| with_values(round, &[1.0; 2])),
        (UpdateFault::WrongLength, |round| with_values(round, &[1.0; 4])),
        (UpdateFault::WrongLength, |round| {
            (UpdateBegin { bytes: 4 * MAX_PARAMETERS, ..sound(round).0 }, vec![])
        }),
        (UpdateFault::WrongLength, too_much),
        (UpdateFault::NotFinite, |round| with_values(round, &[1.0, f32::NAN, 1.0])),
        (UpdateFault::NotFinite, |round| with_values(round, &[1.0, 1.0, f32::NEG_INFINITY])),
        (UpdateFault::OutOfRange, |round| with_values(round, &[1.0, 1.0, 1_048_577.0])),
        (UpdateFault::WeightOutOfRange, |round| with_weight(round, 0)),
        (UpdateFault::WeightOutOfRange, |round| with_weight(round, 1001)),
        (UpdateFault::WrongOffset, wrong_offset),
        (UpdateFault::ChecksumMismatch, torn_chunk),
        (UpdateFault::ChecksumMismatch, other_update),
    ];
    let server = TestServer::start(DUEL).await;
    let start = server.parameters().await;
    let mut honest = server.joined().await;
    for (number, (fault, attack)) in (1..).zip(attacks) {
        // Another one each time: after a few of these a client is left out.
        let mut hostile = server.joined().await;
        let round = hostile.assignment().await.round;
        assert_eq!(round, RoundId { round: number, attempt: 0 });
        let (begin, chunks) = attack(round);
        hostile.begin(begin).await;
        if !chunks.is_empty() && !matches!(fault, UpdateFault::WrongLength) || number == 4 {
            hostile.upload_ready().await;
        }
        for chunk in chunks {
            hostile.send(ClientMessage::UpdateChunk(chunk)).await;
        }
        let outcome = hostile.outcome().await;
        assert_eq!(outcome.verdict, UpdateVerdict::Rejected(fault), "attack {number}");
        assert!(!outcome.message.is_empty());
        // Its part in the round is over: another try does not count.
        let again = hostile.stream_begin(round).await;
        assert_eq!(again, UpdateVerdict::Rejected(UpdateFault::Duplicate));
        hostile.leave().await;
        honest.take_part(&[1.0; 3], 1).await;
    }
    honest.status(|status| status.model.round == 12).await;
    // Only the honest updates have counted.
    let expected: Vec<f32> =
        (0..12).fold(start, |model, _| model.iter().map(|old| old + 1.0).collect());
    assert_eq!(server.parameters().await, expected);
    server.stop().await;
}

#[tokio::test]
async fn misplaced_updates_get_typed_outcomes() {
    let server = TestServer::start(DUEL).await;
    let mut lonely = server.joined().await;
    let round = |round| RoundId { round, attempt: 0 };
    let unknown = UpdateVerdict::Rejected(UpdateFault::UnknownRound);
    assert_eq!(lonely.stream_begin(round(1)).await, unknown);
    assert_eq!(lonely.stream_begin(round(7)).await, unknown);
    let mut other = server.joined().await;
    let first = other.take_part(&[1.0; 3], 1).await;
    let duplicate = UpdateVerdict::Rejected(UpdateFault::Duplicate);
    // The same update once more hears the same again; another one is refused.
    assert_eq!(other.stream_begin(first).await, UpdateVerdict::Accepted);
    other.begin(announcement(first, &update(&[2.0; 3]), 1)).await;
    assert_eq!(other.outcome().await.verdict, duplicate);
    lonely.take_part(&[1.0; 3], 1).await;

    let second = lonely.assignment().await.round;
    assert_eq!(second, round(2));
    let over = UpdateVerdict::Discarded(UpdateFault::RoundOver);
    lonely.begin(announcement(first, &update(&[2.0; 3]), 1)).await;
    assert_eq!(lonely.outcome().await.verdict, over);
    // One who came after the invitations.
    let mut late = server.joined().await;
    let outsider = UpdateVerdict::Rejected(UpdateFault::NotInCohort);
    assert_eq!(late.stream_begin(second).await, outsider);
    // A chunk out of the blue.
    let chunk = sound(second).1.remove(0);
    lonely.send(ClientMessage::UpdateChunk(chunk)).await;
    let outcome = lonely.outcome().await;
    assert_eq!(outcome.verdict, UpdateVerdict::Rejected(UpdateFault::WrongOffset));
    server.stop().await;
}

#[tokio::test]
async fn beyond_the_cap_connections_are_turned_away() {
    let server = TestServer::start_with(DUEL, "max_connections = 1").await;
    let mut client = server.joined().await;
    let refused = get(server.address, "/healthz").await;
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some());
    client.pong(3).await;
    server.stop().await;
}
