//! Limits on connections and handshakes, and the headers that every answer has.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fedra_protocol::{
    ClientMessage, Hello, PROTOCOL_VERSION, RefusalCode, ServerMessage, SubjectId,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::hostile::{frame, rest};
use crate::support::{
    Answer, PARAMETERS, TestServer, config, get, metric, request, soon, update, upgrade,
    upgrade_request, upgrading,
};

async fn start(limits: &str) -> TestServer {
    let limits = format!("[server.limits]\n{limits}");
    TestServer::start_with("cohort_size = 1", &limits).await
}

#[track_caller]
fn assert_told_to_wait(answer: &Answer, status: u16, seconds: std::ops::RangeInclusive<u64>) {
    assert_eq!(answer.status, status);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let wait = answer.header("retry-after").expect("a time").parse().expect("seconds");
    assert!(seconds.contains(&wait), "{wait} s");
}

async fn assert_denied_once(server: &TestServer, reason: &str) {
    let counter = format!("fedra_denied_total{{reason=\"{reason}\"}}");
    assert_eq!(metric(server.address, &counter).await, 1, "{reason}");
}

#[tokio::test]
async fn one_address_may_not_connect_too_often() {
    let server =
        start("handshakes_per_second_per_address = 0.001\nhandshake_burst_per_address = 2").await;
    for _ in 0..2 {
        assert_eq!(upgrade(server.address, "").await.status, 101);
    }
    assert_told_to_wait(&upgrade(server.address, "").await, 429, 900..=1000);
    assert_denied_once(&server, "too-fast-from-address").await;
    // It is handshakes that are counted, not requests.
    assert_eq!(get(server.address, "/healthz").await.status, 200);
    server.stop().await;
}

/// With room for one update at a time, three clients hold it up: one that is
/// silent, one that is cut off, and one that begins anew and is silent again.
#[tokio::test]
async fn an_upload_that_stops_gives_its_room_back() {
    let limits = "upload_budget = \"1KiB\"\n[server.limits]\nupload_grace = \"100ms\"";
    let round = "cohort_size = 4\nreconnect_grace = \"10m\"";
    let server = TestServer::start_with(round, limits).await;
    let update = update(&[1.0; PARAMETERS]);
    let subjects = [1, 2, 3, 4].map(|byte| SubjectId::from_bytes([byte; 16]));
    let mut clients = Vec::new();
    for subject in subjects {
        let mut client = server.client().await;
        client.check_in_as("tiny", Some(subject)).await;
        clients.push(client);
    }
    let [mut silent, mut cut_off, mut next, mut last] = clients.try_into().ok().expect("four");
    let round = silent.assignment().await.round;
    silent.announce(round, &update, 1).await;
    assert_eq!(silent.refusal().await.0.code, RefusalCode::Timeout);
    cut_off.announce(round, &update, 1).await;
    drop(cut_off);
    next.announce(round, &update, 1).await;

    let mut again = server.client().await;
    again.check_in_as("tiny", Some(subjects[0])).await;
    assert_eq!(again.assignment().await.round, round);
    again.announce(round, &update, 1).await;
    last.announce(round, &update, 1).await;
    server.stop().await;
}

#[tokio::test]
async fn an_upload_that_an_earlier_connection_left_costs_the_next_one_nothing() {
    let limits = "upload_budget = \"1KiB\"\n[server.limits]\nupload_grace = \"2s\"";
    let round = "cohort_size = 2\nreconnect_grace = \"10m\"";
    let server = TestServer::start_with(round, limits).await;
    let update = update(&[1.0; PARAMETERS]);
    let [one, two] = [1, 2].map(|byte| Some(SubjectId::from_bytes([byte; 16])));
    let mut other = server.client().await;
    other.check_in_as("tiny", two).await;
    let mut client = server.client().await;
    client.check_in_as("tiny", one).await;
    let round = client.assignment().await.round;
    client.announce(round, &update, 1).await;
    drop(client);
    let mut client = server.client().await;
    client.check_in_as("tiny", one).await;
    client.assignment().await;
    other.announce(round, &update, 1).await;
    client.pong(1).await;
    server.stop().await;
}

/// A proxy opens WebSockets on connections that it has had for a while.
#[tokio::test]
async fn the_time_for_a_check_in_begins_with_its_websocket() {
    let limits = "handshake_timeout = \"2s\"";
    let server = TestServer::start_with("cohort_size = 1", limits).await;
    let mut stream = soon(TcpStream::connect(server.address)).await.expect("connects");
    let connected = Instant::now();
    while connected.elapsed() < Duration::from_secs(2) {
        let answer = ask(&mut stream, "GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n").await;
        assert!(answer.starts_with("http/1.1 200 "), "{answer}");
    }
    let answer = ask(&mut stream, &upgrade_request("")).await;
    assert!(answer.starts_with("http/1.1 101 "), "{answer}");
    let hello = Hello { versions: vec![PROTOCOL_VERSION], software: "test".to_owned() };
    let hello = frame(&ClientMessage::Hello(hello).encode());
    soon(stream.write_all(&hello)).await.expect("writes");
    // A short binary frame.
    let mut head = [0; 2];
    soon(stream.read_exact(&mut head)).await.expect("reads");
    let mut message = vec![0; usize::from(head[1])];
    soon(stream.read_exact(&mut message)).await.expect("reads");
    let message = ServerMessage::decode(message.into()).expect("sound");
    assert!(matches!(message, ServerMessage::Welcome(_)), "{message:?}");
    server.stop().await;
}

/// One request on a connection that is kept, and the head of the answer in lower
/// case.
async fn ask(stream: &mut TcpStream, request: &str) -> String {
    soon(stream.write_all(request.as_bytes())).await.expect("writes");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(stream.read_u8()).await.expect("an answer"));
    }
    let head = String::from_utf8(head).expect("text").to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a length"))];
    soon(stream.read_exact(&mut body)).await.expect("a body");
    head
}

#[tokio::test]
async fn nor_may_all_together() {
    let proxies = "trusted_proxies = [\"127.0.0.0/8\"]\nhandshakes_per_second = 1";
    let server = start(proxies).await;
    let mut refused = None;
    // From a different address each; one a second gets through, and 1,000 in less
    // than 1,000 seconds are too many.
    for client in 0..1000 {
        let from = format!("x-forwarded-for: 10.0.{}.{}\r\n", client / 256, client % 256);
        let answer = upgrade(server.address, &from).await;
        if answer.status != 101 {
            refused = Some(answer);
            break;
        }
    }
    assert_told_to_wait(&refused.expect("too many"), 503, 1..=1);
    assert_denied_once(&server, "too-fast").await;
    server.stop().await;
}

#[tokio::test]
async fn one_address_may_not_have_too_many_connections() {
    let server = start("connections_per_address = 2").await;
    let (first, mut second) = (server.joined().await, server.joined().await);
    assert_told_to_wait(&get(server.address, "/healthz").await, 429, 30..=30);
    second.pong(1).await;
    drop(first);
    let freed = async { while get(server.address, "/healthz").await.status != 200 {} };
    soon(freed).await;
    server.stop().await;
}

#[tokio::test]
async fn behind_a_proxy_it_is_the_client_s_address_that_counts() {
    let server = start("connections_per_address = 1\ntrusted_proxies = [\"127.0.0.1\"]").await;
    let hold = |client: &str| {
        let (address, headers) =
            (server.address, format!("x-forwarded-for: 6.6.6.6, {client}\r\n"));
        async move {
            let (answer, stream) = upgrading(address, &headers).await;
            (answer.status, stream)
        }
    };
    let (first, held) = hold("192.0.2.1").await;
    assert_eq!(first, 101);
    // What the client itself has put in front changes nothing.
    assert_eq!(hold("192.0.2.1").await.0, 429);
    let (neighbour, _held) = hold("2001:db8::1").await;
    assert_eq!(neighbour, 101);
    assert_eq!(hold("2001:db8::2").await.0, 429, "the same /64");
    drop(held);
    let freed = async { while hold("192.0.2.1").await.0 != 101 {} };
    soon(freed).await;
    server.stop().await;
}

#[tokio::test]
async fn heads_are_limited_in_size_and_time() {
    let server = start("header_timeout = \"200ms\"\nheader_bytes = \"8KiB\"").await;
    let long = format!("x-long: {}\r\n", "x".repeat(9000));
    assert_eq!(request(server.address, "GET", "/healthz", &long).await.status, 431);
    // A head that never ends, a byte at a time.
    let mut slow = soon(TcpStream::connect(server.address)).await.expect("connects");
    let ended = async {
        let mut answer = [0; 64];
        loop {
            let written = slow.write_all(b"x").await;
            let read = tokio::time::timeout(Duration::from_millis(1), async {
                slow.read(&mut answer).await
            });
            if written.is_err() || matches!(read.await, Ok(Ok(0) | Err(_))) {
                break;
            }
        }
    };
    soon(ended).await;
    assert_eq!(get(server.address, "/healthz").await.status, 200);
    server.stop().await;
}

const ASK: &str = "GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n";

/// A connection that has had an answer.
async fn answered(server: &TestServer) -> TcpStream {
    let mut stream = soon(TcpStream::connect(server.address)).await.expect("connects");
    assert!(ask(&mut stream, ASK).await.starts_with("http/1.1 200 "));
    stream
}

#[tokio::test]
async fn a_connection_is_kept_for_longer_than_a_head_may_take() {
    let server = start("header_timeout = \"200ms\"\nkeep_alive_timeout = \"1h\"").await;
    let mut kept = answered(&server).await;
    // It was closed by now if it had only as long as this one, which is newer.
    let silent = soon(TcpStream::connect(server.address)).await.expect("connects");
    assert!(rest(silent).await.is_empty(), "nothing was asked");
    assert!(ask(&mut kept, ASK).await.starts_with("http/1.1 200 "));
    // Once a head has begun it has the shorter time.
    soon(kept.write_all(b"GET /healthz HTTP/1.1\r\nho")).await.expect("writes");
    rest(kept).await;
    server.stop().await;
}

#[tokio::test]
async fn a_connection_that_asks_no_more_is_closed() {
    let server = start("header_timeout = \"1h\"\nkeep_alive_timeout = \"200ms\"").await;
    assert!(rest(answered(&server).await).await.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn idle_connections_make_room_and_others_are_left_alone() {
    let limits = "max_connections = 3\n[server.limits]\nkeep_alive_timeout = \"1h\"";
    let server = TestServer::start_with("cohort_size = 1", limits).await;
    let mut client = server.joined().await;
    let longest = answered(&server).await;
    let mut idle = answered(&server).await;
    assert_eq!(get(server.address, "/healthz").await.status, 200);
    assert!(rest(longest).await.is_empty(), "it was closed");
    client.pong(1).await;
    assert!(ask(&mut idle, ASK).await.starts_with("http/1.1 200 "));
    server.stop().await;
}

#[tokio::test]
async fn the_page_and_the_data_tell_browsers_what_they_may_do() {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let page = folder.path().join("page");
    std::fs::create_dir_all(page.join("admin")).expect("creates");
    for file in ["index.html", "admin/index.html", "worker.js"] {
        std::fs::write(page.join(file), "x").expect("writes");
    }
    let rest = format!("page = \"{}\"", page.display());
    let config = config(&folder.path().join("store"), "cohort_size = 1", &rest);
    let server = TestServer::start_config(config, folder).await;
    for path in ["/", "/admin/", "/admin", "/worker.js", "/v1connect"] {
        let answer = get(server.address, path).await;
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(policy.contains("script-src 'self' 'wasm-unsafe-eval';"), "{policy}");
        assert!(policy.contains("default-src 'none'") && policy.contains("connect-src 'self'"));
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe-inline") && !policy.contains("'unsafe-eval'"));
        assert_eq!(answer.header("cross-origin-opener-policy"), Some("same-origin"), "{path}");
        assert!(answer.header("permissions-policy").is_some());
    }
    for path in ["/", "/v1/tasks", "/v1/connect", "/metrics", "/none"] {
        let answer = get(server.address, path).await;
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{path}");
        // Only TLS can promise TLS.
        assert_eq!(answer.header("strict-transport-security"), None, "{path}");
    }
    let data = get(server.address, "/v1/tasks").await;
    let policy = data.header("content-security-policy");
    assert_eq!(policy, Some("default-src 'none'; frame-ancestors 'none'"));
    // No other site's page reads what is for the operator.
    let operator = get(server.address, "/v1/admin/status").await;
    assert_eq!(operator.header("access-control-allow-origin"), None);
    server.stop().await;
}

#[tokio::test]
async fn two_devices_of_one_name_do_not_replace_each_other_for_ever() {
    let server = TestServer::start("cohort_size = 9").await;
    let subject = Some(SubjectId::from_bytes([7; 16]));
    let mut there = server.client().await;
    there.check_in_as("tiny", subject).await;
    for _ in 0..6 {
        let mut later = server.client().await;
        later.check_in_as("tiny", subject).await;
        let (refusal, _) = there.refusal().await;
        assert_eq!((refusal.code, refusal.retry_after), (RefusalCode::Replaced, None));
        there = later;
    }
    // From now on the one that is there stays for a while.
    let mut later = server.client().await;
    later.check_in_as("tiny", subject).await;
    let (refusal, _) = later.refusal().await;
    assert_eq!(refusal.code, RefusalCode::Replaced);
    let wait = refusal.retry_after.expect("a time to come back at");
    assert!(!wait.is_zero() && wait <= Duration::from_secs(30), "{wait:?}");
    assert!(refusal.message.contains("two devices"), "{}", refusal.message);
    there.pong(1).await;
    let contested = metric(server.address, "fedra_contested_check_ins_total{task=\"tiny\"}").await;
    assert_eq!(contested, 1);
    server.stop().await;
}
