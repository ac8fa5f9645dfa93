//! The real program as a platform runs it: with variables that are not its own,
//! with few file descriptors, and a second time on the same store.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::support::{TINY_MODEL, TestClient, get, soon};

const PROGRAM: &str = env!("CARGO_BIN_EXE_fedra-aggregator");

fn config_file(folder: &Path) -> PathBuf {
    let path = folder.join("fedra.toml");
    let toml = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nstore = \"{}\"\n[[task]]\nid = \"tiny\"\n\
         model = {TINY_MODEL}\n\
         round = {{ cohort_size = 2, selection_window = \"0s\" }}\n",
        folder.join("store").display()
    );
    fs::write(&path, toml).expect("writes");
    path
}

fn run(command: &str, config: &Path, variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = Command::new(PROGRAM)
        .env_remove("RUST_LOG")
        .args([command, "--config"])
        .arg(config)
        .envs(variables.iter().copied())
        .output()
        .expect("runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

/// A server whose log is read; it is killed when dropped.
struct Logged {
    child: Child,
    log: Receiver<Value>,
}

impl Logged {
    /// Starts with this limit on file descriptors.
    fn start(config: &Path, descriptors: u32) -> Self {
        let script = format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"");
        let mut child = Command::new("sh")
            .args(["-c", &script, PROGRAM, "serve", "--log-format", "json", "--config"])
            .arg(config)
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let (lines, log) = channel();
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let line: Value = serde_json::from_str(&line).expect("JSON");
                // A test that has seen enough reads no more.
                let _ = lines.send(line);
            }
        });
        Self { child, log }
    }

    /// The next log line with this field.
    fn line_with(&self, field: &str) -> Value {
        loop {
            let line = self.log.recv_timeout(Duration::from_secs(30)).expect("a line");
            if !line["fields"][field].is_null() {
                return line;
            }
        }
    }

    fn address(&self) -> SocketAddr {
        let line = self.line_with("address");
        line["fields"]["address"].as_str().expect("text").parse().expect("an address")
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        self.child.kill().expect("kills");
        self.child.wait().expect("is gone");
    }
}

#[test]
fn variables_of_a_service_are_let_be_and_misspelt_ones_are_told() {
    let folder = TempDir::new().expect("a folder");
    let config = config_file(folder.path());
    let of_a_service = [
        ("FEDRA_SERVICE_HOST", "10.0.0.1"),
        ("FEDRA_SERVICE_PORT", "8080"),
        ("FEDRA_PORT", "tcp://10.0.0.1:8080"),
        ("FEDRA_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("FEDRA_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("FEDRA_SERVER_PORT", "tcp://10.0.0.2:80"),
        ("FEDRA_SERVER_SERVICE_HOST", "10.0.0.2"),
    ];
    let (code, stdout, stderr) = run("check", &config, &of_a_service);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.contains("task tiny: 3 parameters"), "{stdout}");

    let (code, stdout, stderr) = run("check", &config, &[("FEDRA_SERVER__LISTEN", "127.0.0.1:9")]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.starts_with("listens on 127.0.0.1:9"), "{stdout}");

    let (code, _, stderr) = run("check", &config, &[("FEDRA_SERVER_LISTEN", "127.0.0.1:9")]);
    assert_eq!(code, Some(0));
    let warning = "warning: the environment variable FEDRA_SERVER_LISTEN is not read: did you mean \
                   FEDRA_SERVER__LISTEN?\n";
    assert_eq!(stderr, warning);

    let of_a_service = [("FEDRA_SERVER__LISTEN", "tcp://10.0.0.1:8080")];
    let (code, _, stderr) = run("check", &config, &of_a_service);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("server.listen: must be an address and a port"), "{stderr}");
}

#[test]
fn a_second_server_on_the_same_store_says_why_it_ends() {
    let folder = TempDir::new().expect("a folder");
    let config = config_file(folder.path());
    let first = Logged::start(&config, 512);
    first.address();
    let (code, _, stderr) = run("serve", &config, &[]);
    assert_eq!(code, Some(1));
    let last = stderr.lines().last().expect("a line");
    assert!(last.contains("is in use by another process"), "{stderr}");
    assert!(last.contains("strategy Recreate"), "{stderr}");
}

/// A client that comes back as long as the server has no room.
async fn connected(address: SocketAddr) -> TestClient {
    let attempts = async {
        loop {
            if let Some(client) = TestClient::try_connect(address).await {
                return client;
            }
        }
    };
    let mut client = soon(attempts).await;
    client.check_in("tiny").await;
    client
}

#[tokio::test]
async fn silent_connections_take_neither_the_last_descriptors_nor_the_places_of_clients() {
    const LIMIT: u32 = 128;
    let folder = TempDir::new().expect("a folder");
    let server = Logged::start(&config_file(folder.path()), LIMIT);
    let address = server.address();
    let warning = server.line_with("needed");
    assert_eq!((&warning["level"], &warning["fields"]["limit"]), (&"WARN".into(), &LIMIT.into()));
    let most = warning["fields"]["connections"].as_u64().expect("a number");
    assert!((16..u64::from(LIMIT) - 32).contains(&most), "{warning}");

    let mut silent = Vec::new();
    for _ in 0..150 {
        silent.push(soon(TcpStream::connect(address)).await.expect("connects"));
    }
    let (mut a, mut b) = (connected(address).await, connected(address).await);
    for round in 1..=3 {
        a.take_part(&[1.0; 3], 1).await;
        b.take_part(&[1.0; 3], 1).await;
        a.status(|status| status.model.round == round).await;
        b.status(|status| status.model.round == round).await;
        silent.push(soon(TcpStream::connect(address)).await.expect("connects"));
    }
    // A request is answered beside them.
    assert_eq!(get(address, "/v1/tasks/tiny").await.json()["round"], 3);
    drop(silent);
}
