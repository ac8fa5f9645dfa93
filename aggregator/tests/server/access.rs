//! Join tokens, origins and limits on a task's clients, over the real server.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use fedra_aggregator::config::Config;
use fedra_protocol::{RefusalCode, ServerMessage};
use serde_json::{Value, json};
use tempfile::TempDir;
use tracing_subscriber::fmt::MakeWriter;

use crate::mint::{Mint, encode};
use crate::support::{
    TestClient, TestServer, check_in, config_with, metric, request, soon, upgrade,
};

const REQUIRED: &str = "[task.access]\ntokens = \"required\"";
const MANUAL: &str = include_str!("../../../docs/OPERATIONS.md");

/// A config whose task needs tokens signed with one of these keys.
fn config(folder: &Path, mints: &[(&str, &Mint)]) -> Config {
    let mut server = String::new();
    for (id, mint) in mints {
        let file = folder.join(format!("{id}.pem"));
        std::fs::write(&file, mint.public_pem()).expect("writes");
        server += &format!(
            "[[server.token_key]]\nid = \"{id}\"\nalgorithm = \"EdDSA\"\n\
             public_key_file = \"{}\"\n",
            file.display()
        );
    }
    config_with(&folder.join("store"), "cohort_size = 1", &server, "", REQUIRED)
}

fn claims(changes: &Value) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let mut claims = json!({ "aud": "tiny", "sub": "visitor-7", "iat": now, "exp": now + 300 });
    for (name, value) in changes.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    claims
}

async fn start(mints: &[(&str, &Mint)]) -> TestServer {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    TestServer::start_config(config(folder.path(), mints), folder).await
}

/// The client that was let in with this token, or what it was told.
async fn join(server: &TestServer, token: &str) -> Result<TestClient, (RefusalCode, String)> {
    let mut client = server.client().await;
    client.ask_with_token(token).await;
    match client.next().await {
        ServerMessage::CheckedIn(_) => Ok(client),
        ServerMessage::Refusal(refusal) => Err((refusal.code, refusal.message)),
        other => panic!("neither let in nor refused: {other:?}"),
    }
}

#[tokio::test]
async fn with_a_token_clients_take_part() {
    let mint = Mint::ed25519("k1", 1);
    let server = start(&[("k1", &mint)]).await;
    let mut client = join(&server, &mint.token(&claims(&json!({})))).await.expect("let in");
    client.take_part(&[1.0; 3], 1).await;
    client.status(|status| status.model.round == 1).await;
    server.stop().await;
}

/// Log of the server, as text.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn bad_tokens_are_refused_counted_and_logged_without_the_token() {
    let lines = Lines::default();
    // With only one subscriber, callsites that another test's thread reaches first
    // are cached as disabled.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::new());
    // The server's tasks run on this thread.
    let _guard = tracing::subscriber::set_default(
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(lines.clone())
            .finish(),
    );
    let mint = Mint::ed25519("k1", 1);
    let server = start(&[("k1", &mint)]).await;
    let good = claims(&json!({}));
    let single = mint.token(&claims(&json!({ "jti": "once" })));
    let (old, past) = (json!({ "iat": 1000, "exp": 1300 }), "expired");
    let none = format!("{}.{}.", encode(&json!({ "alg": "none", "kid": "k1" })), encode(&good));
    let bad = [
        (mint.token(&claims(&old)), past),
        (mint.token(&claims(&json!({ "aud": "other" }))), "wrong-audience"),
        (Mint::ed25519("k1", 2).token(&good), "bad-signature"),
        (Mint::hs256("k1", &mint.public()).token(&good), "bad-signature"),
        (Mint::ed25519("k9", 1).token(&good), "unknown-key"),
        (none, "malformed"),
        (single.clone(), "replayed"),
    ];
    drop(join(&server, &single).await.expect("let in"));
    for (token, reason) in &bad {
        let (code, message) = join(&server, token).await.err().expect(reason);
        assert_eq!(code, RefusalCode::Unauthorized, "{reason}");
        assert!(!message.is_empty() && !message.contains(token.as_str()));
    }
    let mut silent = server.client().await;
    silent.hello().await;
    silent.send(check_in("tiny")).await;
    let (refusal, close) = silent.refusal().await;
    assert_eq!(
        (refusal.code, refusal.retry_after, u16::from(close.code)),
        (RefusalCode::Unauthorized, None, 4052)
    );

    for (reason, count) in [
        ("expired", 1),
        ("wrong-audience", 1),
        ("bad-signature", 2),
        ("unknown-key", 1),
        ("malformed", 1),
        ("replayed", 1),
        ("missing", 1),
    ] {
        assert_eq!(denied(&server, reason).await, count, "{reason}");
    }
    server.stop().await;
    let log = String::from_utf8(lines.0.lock().expect("not poisoned").clone()).expect("text");
    assert!(log.contains("turned away") && log.contains("wrong-audience"), "{log}");
    for (token, reason) in &bad {
        for part in token.split('.').filter(|part| !part.is_empty()) {
            assert!(!log.contains(part), "{reason}: the log has part of a token");
        }
    }
}

async fn denied(server: &TestServer, reason: &str) -> u64 {
    metric(server.address, &format!("fedra_denied_total{{reason=\"{reason}\"}}")).await
}

#[tokio::test]
async fn a_later_session_of_the_same_participant_replaces_the_earlier() {
    let mint = Mint::ed25519("k1", 1);
    let server = start(&[("k1", &mint)]).await;
    let token = |id| mint.token(&claims(&json!({ "jti": id })));
    let mut earlier = join(&server, &token("a")).await.expect("let in");
    let mut later = join(&server, &token("b")).await.expect("let in");
    assert_eq!(earlier.refusal().await.0.code, RefusalCode::Replaced);
    later.take_part(&[1.0; 3], 1).await;
    server.stop().await;
}

#[tokio::test]
async fn keys_change_while_the_server_runs() {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let (old, new) = (Mint::ed25519("old", 1), Mint::ed25519("new", 2));
    let first = config(folder.path(), &[("old", &old)]);
    let both = config(folder.path(), &[("old", &old), ("new", &new)]);
    let last = config(folder.path(), &[("new", &new)]);
    let (server, reload) = TestServer::start_reloading(first, folder).await;
    let token = |mint: &Mint| mint.token(&claims(&json!({})));
    assert!(join(&server, &token(&new)).await.is_err());
    reload.send(both).expect("running");
    soon(async { while join(&server, &token(&new)).await.is_err() {} }).await;
    join(&server, &token(&old)).await.expect("still let in");
    reload.send(last).expect("running");
    soon(async { while join(&server, &token(&old)).await.is_ok() {} }).await;
    join(&server, &token(&new)).await.expect("let in");
    server.stop().await;
}

#[tokio::test]
async fn the_manual_s_example_makes_tokens_that_are_let_in() {
    if Command::new("node").arg("--version").output().is_err() {
        eprintln!("passed over: the example needs node");
        return;
    }
    let (_, example) = MANUAL.split_once("```js\n").expect("the example");
    let (example, _) = example.split_once("```").expect("its end");
    let mint = Mint::ed25519("k1", 1);
    let server = start(&[("k1", &mint)]).await;
    let folder = server.folder.path();
    std::fs::write(folder.join("mint.mjs"), example).expect("writes");
    std::fs::write(folder.join("token-key.pem"), mint.private_pem()).expect("writes");
    let call = "import { mint } from './mint.mjs'; console.log(mint('tiny', 'visitor-7'));";
    let output = Command::new("node")
        .args(["--input-type=module", "--eval", call])
        .current_dir(folder)
        .output()
        .expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let token = String::from_utf8(output.stdout).expect("text");
    join(&server, token.trim()).await.expect("let in");
    let (code, _) = join(&server, token.trim()).await.err().expect("it has an id");
    assert_eq!(code, RefusalCode::Unauthorized);
    server.stop().await;
}

#[tokio::test]
async fn an_open_task_takes_so_many_clients() {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let access = "[task.access]\nmax_clients = 3\nmax_clients_per_address = 1";
    let store = folder.path().join("store");
    let config = config_with(&store, "cohort_size = 1", "", "", access);
    let server = TestServer::start_config(config, folder).await;
    let first = server.joined().await;
    let mut second = server.client().await;
    second.hello().await;
    second.send(check_in("tiny")).await;
    let (refusal, _) = second.refusal().await;
    assert_eq!(refusal.code, RefusalCode::Overloaded);
    assert!(refusal.retry_after.is_some());
    assert_eq!(denied(&server, "too-many-from-address").await, 1);
    // When it leaves, there is room.
    drop(first);
    soon(async { while server.task().await["clients_connected"] != 0 {} }).await;
    let again = server.joined().await;
    drop(again);
    server.stop().await;
}

#[tokio::test]
async fn pages_of_other_sites_may_not_connect() {
    let list = "allowed_origins = [\"https://example.org\"]";
    let server = TestServer::start_with("cohort_size = 1", list).await;
    for origin in ["https://evil.test", "null"] {
        let foreign = upgrade(server.address, &format!("origin: {origin}\r\n")).await;
        assert_eq!(foreign.status, 403, "{origin}");
        assert_eq!(foreign.header("content-type"), Some("application/problem+json"));
        assert_eq!(foreign.header("access-control-allow-origin"), None);
    }
    assert_eq!(upgrade(server.address, "origin: https://example.org\r\n").await.status, 101);
    // Native clients have none.
    let mut native = server.joined().await;
    native.pong(1).await;

    let listed =
        request(server.address, "GET", "/v1/tasks", "origin: https://example.org\r\n").await;
    assert_eq!(listed.status, 200);
    assert_eq!(listed.header("access-control-allow-origin"), Some("https://example.org"));
    assert_eq!(listed.header("vary"), Some("origin"));
    let other = request(server.address, "GET", "/v1/tasks", "origin: https://evil.test\r\n").await;
    assert_eq!(other.header("access-control-allow-origin"), None);
    assert_eq!(other.header("vary"), Some("origin"));
    assert_eq!(denied(&server, "foreign-origin").await, 2);
    server.stop().await;
}
