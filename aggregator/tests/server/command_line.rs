//! The program's own command line against a running server.

use std::process::{Command, Output};
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;

use crate::admin::{TOKEN, server};
use crate::support::TestServer;
use crate::tls::{certify, tls_config};

/// Runs the program with the operator's token, and `line` behind the server's address.
pub async fn run(server: &TestServer, line: &str) -> Ran {
    run_at(&format!("http://{}", server.address), Some(TOKEN), line).await
}

async fn run_at(url: &str, token: Option<&str>, line: &str) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fedra-aggregator"));
    command.args(line.split_whitespace()).env("FEDRA_SERVER_URL", url);
    command.env_remove("FEDRA_ADMIN_TOKEN");
    if let Some(token) = token {
        command.env("FEDRA_ADMIN_TOKEN", token);
    }
    let output = tokio::task::spawn_blocking(move || command.output());
    Ran::from(output.await.expect("no panic").expect("runs"))
}

pub struct Ran {
    status: i32,
    out: String,
    error: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("text");
        let status = output.status.code().expect("a status");
        Self { status, out: text(output.stdout), error: text(output.stderr) }
    }
}

impl Ran {
    /// The output of a command that must have worked.
    pub fn done(self) -> String {
        assert_eq!((self.status, self.error.as_str()), (0, ""));
        self.out
    }

    /// The line of a command that must not have worked.
    fn refused(self, status: i32) -> String {
        assert_eq!(self.status, status, "{}", self.error);
        assert_eq!(self.out, "");
        assert!(self.error.starts_with("fedra-aggregator: "), "{}", self.error);
        assert!(!self.error.contains(TOKEN), "{}", self.error);
        self.error
    }
}

#[tokio::test]
async fn an_operator_follows_and_changes_a_task() {
    let server = server().await;
    let mut client = server.joined().await;
    client.take_part(&[1.0; 3], 1).await;
    client.status(|status| status.model.round == 1).await;
    assert_eq!(run(&server, "ready").await.done(), "");
    let status = run(&server, "status").await.done();
    assert!(status.starts_with("fedra-aggregator 0.1.0, up "), "{status}");
    assert!(status.contains("tiny  running"), "{status}");
    let list = run(&server, "task list").await.done();
    assert_eq!(list.lines().count(), 2, "{list}");
    let json: Value =
        serde_json::from_str(&run(&server, "status --json").await.done()).expect("JSON");
    assert_eq!(json["tasks"][0]["id"], "tiny");

    assert_eq!(run(&server, "task pause tiny").await.done(), "the task tiny is paused\n");
    assert_eq!(run(&server, "task resume tiny").await.done(), "the task tiny is running\n");
    let back = run(&server, "task rollback tiny --to 0").await.done();
    assert_eq!(back, "the task tiny goes on from the model of round 0, now round 2\n");
    let show = run(&server, "task show tiny").await.done();
    for text in
        ["tiny: A tiny task\n", "models of rounds 0-2\n", "back to 0", "roll-back to 0, as 2"]
    {
        assert!(show.contains(text), "{text}\n{show}");
    }
    assert_eq!(run(&server, "task stop tiny --yes").await.done(), "the task tiny is stopped\n");
    let again = run(&server, "task resume tiny").await.refused(1);
    assert!(again.contains("stopped"), "{again}");
    server.stop().await;
}

#[tokio::test]
async fn a_model_is_exported_whole_and_nothing_is_overwritten() {
    let server = server().await;
    let out = server.folder.path().join("model.safetensors");
    let line = format!("task export tiny --out {}", out.display());
    let told = run(&server, &line).await.done();
    assert!(told.contains("round 0 of tiny"), "{told}");
    let file = std::fs::read(&out).expect("written");
    assert!(told.contains(&fedra_protocol::Sha256Hash::of(&file).to_string()), "{told}");
    assert!(run(&server, &line).await.refused(2).contains("is there already"));
    let missing = server.folder.path().join("other");
    let line = format!("task export tiny --round 7 --out {}", missing.display());
    assert!(run(&server, &line).await.refused(1).contains("is not kept"));
    assert!(!missing.exists());
    server.stop().await;
}

#[tokio::test]
async fn a_model_is_exported_as_onnx() {
    let server = server().await;
    let out = server.folder.path().join("model.onnx");
    let line = format!("task export tiny --format onnx --out {}", out.display());
    let told = run(&server, &line).await.done();
    let file = std::fs::read(&out).expect("written");
    assert!(told.contains(&fedra_protocol::Sha256Hash::of(&file).to_string()), "{told}");
    let text = String::from_utf8_lossy(&file);
    assert!(text.contains("Fedra") && text.contains("layers.0.weight"), "{text}");
    let other = server.folder.path().join("other");
    let line = format!("task export tiny --format pickle --out {}", other.display());
    let refused = run(&server, &line).await;
    assert_eq!(refused.status, 2);
    assert!(refused.error.contains("safetensors, onnx, pytorch"), "{}", refused.error);
    assert!(!other.exists());
    server.stop().await;
}

#[tokio::test]
async fn a_model_is_exported_for_pytorch_and_its_card_is_printed() {
    let server = server().await;
    let out = server.folder.path().join("model.safetensors");
    let line = format!("task export tiny --format pytorch --out {}", out.display());
    run(&server, &line).await.done();
    let text = String::from_utf8_lossy(&std::fs::read(&out).expect("written")).into_owned();
    assert!(text.contains("\"0.weight\"") && text.contains("\"shape\":[1,2]"), "{text}");
    let card = run(&server, "task card tiny").await.done();
    assert!(card.contains("- Size: 3 parameters") && card.contains("not evaluated"), "{card}");
    let unknown = format!("task card tiny --model {}", "0".repeat(64));
    assert!(run(&server, &unknown).await.refused(1).contains("no round"), "no such model");
    assert_eq!(run(&server, "task card tiny --model x").await.status, 2);
    server.stop().await;
}

#[tokio::test]
async fn tasks_are_created_from_files() {
    let server = server().await;
    let create = async |name: &str, toml: &str| {
        let file = server.folder.path().join(name);
        std::fs::write(&file, toml).expect("writes");
        run(&server, &format!("task create {}", file.display())).await
    };
    let good = "[[task]]\nid = \"second\"\nmodel = \"softmax-regression\"\n";
    assert_eq!(create("good", good).await.done(), "the task second is created\n");
    let bad =
        create("bad", "[[task]]\nid = \"third\"\n[task.round]\ncohort = 3\n").await.refused(1);
    for text in ["2 mistakes in the task's config", "task[third].model: missing", "unknown key"] {
        assert!(bad.contains(text), "{bad}");
    }
    let none = run(&server, "task create /nowhere/task.toml").await.refused(1);
    assert!(none.contains("/nowhere/task.toml"), "{none}");
    server.stop().await;
}

#[tokio::test]
async fn what_is_wrong_is_said_with_what_to_do() {
    let server = server().await;
    let url = format!("http://{}", server.address);
    let wrong = run_at(&url, Some("wrong-wrong-wrong-wrong-wrong-wrong"), "status").await;
    assert!(wrong.refused(1).contains("server.admin.token_file"));
    let none = run_at(&url, None, "status").await.refused(2);
    assert!(none.contains("--token-file") && none.contains("FEDRA_ADMIN_TOKEN"), "{none}");
    let file = server.folder.path().join("token");
    std::fs::write(&file, TOKEN).expect("writes");
    let line = format!("status --token-file {}", file.display());
    assert_eq!(run_at(&url, None, &line).await.status, 0);
    assert!(run(&server, "task show other").await.refused(1).contains("no task of this name"));
    // There is no terminal to ask at.
    assert!(run(&server, "task stop tiny").await.refused(2).contains("--yes"));
    assert_eq!(server.task().await["state"], "running");
    let nobody = unused_address();
    let gone = run_at(&nobody, Some(TOKEN), "status").await.refused(1);
    assert!(gone.contains("Is the server running there?"), "{gone}");
    assert_eq!(run_at(&nobody, None, "ready").await.status, 1);
    server.stop().await;
}

#[tokio::test]
async fn over_tls_the_certificate_has_to_be_trusted() {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    certify(folder.path());
    let admin = format!("[server.admin]\ntoken = \"{TOKEN}\"");
    let config = tls_config(folder.path(), &admin);
    let server = TestServer::start_config(config, Arc::clone(&folder)).await;
    let url = format!("https://localhost:{}", server.address.port());
    let trusting = format!("status --ca {}/certificate.pem", folder.path().display());
    assert!(run_at(&url, Some(TOKEN), &trusting).await.done().contains("tiny  running"));
    // The system does not know who signed it.
    let distrusting = run_at(&url, Some(TOKEN), "status").await;
    assert_ne!(distrusting.status, 0);
    assert_eq!(distrusting.out, "");
    let wrong = format!("status --ca {}/key.pem", folder.path().display());
    let wrong = run_at(&url, Some(TOKEN), &wrong).await.refused(2);
    assert!(wrong.contains("no certificates to trust"), "{wrong}");
    server.stop().await;
}

/// An address without a listener: its port was free a moment ago.
fn unused_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    format!("http://{}", listener.local_addr().expect("bound"))
}
