//! State left after a stop, a crash, or damage: by a copy of the folder, and by the
//! real program and a SIGKILL.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use tempfile::TempDir;

use crate::support::{TestClient, TestServer, config, get, model_of};

const ALONE: &str = "cohort_size = 1";

async fn make_rounds(address: SocketAddr, first: u64, count: u64) {
    let mut client = TestClient::connect(address).await;
    client.check_in("tiny").await;
    for round in first..first + count {
        // A client that has just gone may have cost an attempt.
        assert_eq!(client.take_part(&[1.0; 3], 1).await.round, round);
        client.status(|status| status.model.round == round).await;
    }
}

#[tokio::test]
async fn a_restart_goes_on_at_the_last_round() {
    let server = TestServer::start(ALONE).await;
    make_rounds(server.address, 1, 2).await;
    let before = server.task().await;
    let folder = Arc::clone(&server.folder);
    server.stop().await;

    let again = config(&folder.path().join("store"), ALONE, "");
    let server = TestServer::start_config(again, folder).await;
    let after = server.task().await;
    assert_eq!(after["round"], 2);
    assert_eq!(after["model"], before["model"]);
    assert_eq!(after["history"], before["history"]);
    make_rounds(server.address, 3, 1).await;
    server.stop().await;
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("creates");
    for entry in fs::read_dir(from).expect("lists") {
        let path = entry.expect("readable").path();
        let target = to.join(path.file_name().expect("named"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("copies");
        }
    }
}

#[tokio::test]
async fn a_copy_of_a_running_servers_folder_has_every_announced_round() {
    let server = TestServer::start(ALONE).await;
    make_rounds(server.address, 1, 3).await;
    let announced = server.task().await;
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let store = folder.path().join("store");
    copy(&server.folder.path().join("store"), &store);
    let twin = TestServer::start_config(config(&store, ALONE, ""), folder).await;
    assert_eq!(twin.task().await["model"], announced["model"]);
    make_rounds(twin.address, 4, 1).await;
    twin.stop().await;
    server.stop().await;
}

/// A config file for the real program. Returns its path.
fn config_file(folder: &Path, listen: &str, model_outputs: u32) -> PathBuf {
    let path = folder.join("fedra.toml");
    let toml = format!(
        "[server]\nlisten = \"{listen}\"\nstore = \"{}\"\n[[task]]\nid = \"tiny\"\n\
         model = {{ input = [2], layers = [{{ type = \"linear\", outputs = {model_outputs} }}], \
         loss = \"mean_squared_error\" }}\n\
         round = {{ cohort_size = 1, selection_window = \"0s\" }}\n",
        folder.join("store").display()
    );
    fs::write(&path, toml).expect("writes");
    path
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fedra-aggregator"));
    command.env_remove("RUST_LOG");
    command
}

/// The real program, which is killed with SIGKILL when dropped.
struct Program {
    child: Child,
    address: SocketAddr,
}

impl Program {
    fn start(config: &Path) -> Self {
        let mut child = program()
            .args(["serve", "--log-format", "json", "--config"])
            .arg(config)
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut log = BufReader::new(child.stderr.take().expect("piped")).lines();
        let address = log
            .by_ref()
            .map(|line| line.expect("text"))
            .find_map(|line| {
                let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
                line["fields"]["address"].as_str().map(str::to_owned)
            })
            .expect("it says where it listens");
        // The server must not be left with a full pipe.
        std::thread::spawn(move || log.for_each(drop));
        Self { child, address: address.parse().expect("an address") }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().expect("kills");
        self.child.wait().expect("is gone");
    }
}

#[tokio::test]
async fn a_killed_program_goes_on_at_the_last_announced_round() {
    let folder = TempDir::new().expect("a folder");
    let config = config_file(folder.path(), "127.0.0.1:0", 1);
    let program = Program::start(&config);
    make_rounds(program.address, 1, 2).await;
    // In the middle of the third.
    let mut client = TestClient::connect(program.address).await;
    client.check_in("tiny").await;
    client.assignment().await;
    let announced = get(program.address, "/v1/tasks/tiny").await.json();
    drop(program);

    let program = Program::start(&config);
    let task = get(program.address, "/v1/tasks/tiny").await.json();
    assert_eq!(task["model"], announced["model"]);
    assert_eq!(task["history"], announced["history"]);
    let model = get(program.address, &model_of("/v1/tasks/tiny", &task)).await;
    assert_eq!(model.status, 200);
    make_rounds(program.address, 3, 1).await;
}

fn run(arguments: &[&str], config: &Path) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        program().args(arguments).arg("--config").arg(config).output().expect("runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

/// The last line on stderr, which is not a log line.
fn last(stderr: &str) -> &str {
    stderr.lines().last().expect("a line")
}

#[test]
fn the_program_explains_why_it_does_not_start() {
    let folder = TempDir::new().expect("a folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let config = config_file(folder.path(), &address, 1);
    let (code, _, stderr) = run(&["serve"], &config);
    assert_eq!(code, Some(1));
    let line = format!("fedra-aggregator: cannot listen on {address}: ");
    assert!(last(&stderr).starts_with(&line), "{stderr}");

    fs::create_dir(folder.path().join("store")).expect("creates");
    fs::write(folder.path().join("store/fedra.redb"), [7; 9000]).expect("writes");
    let config = config_file(folder.path(), "127.0.0.1:0", 1);
    let (code, _, stderr) = run(&["serve"], &config);
    assert_eq!(code, Some(1));
    assert!(last(&stderr).contains("fedra.redb is damaged"), "{stderr}");

    fs::write(&config, "[[task]]\nid = \"a\"\nmodle = \"mnist-2nn\"\n").expect("writes");
    for command in ["serve", "check"] {
        let (code, stdout, stderr) = run(&[command], &config);
        assert_eq!((code, stdout.as_str()), (Some(2), ""));
        assert!(stderr.contains("2 mistakes in the config"), "{stderr}");
        assert!(stderr.contains("task[a].modle: unknown key; did you mean `model`?"), "{stderr}");
    }
    let (code, _, stderr) = run(&["check"], &folder.path().join("none.toml"));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("there is no config file"), "{stderr}");
}

#[tokio::test]
async fn another_model_or_a_damaged_one_stops_the_start() {
    let folder = TempDir::new().expect("a folder");
    let config = config_file(folder.path(), "127.0.0.1:0", 1);
    let program = Program::start(&config);
    make_rounds(program.address, 1, 1).await;
    drop(program);

    let other = config_file(folder.path(), "127.0.0.1:0", 2);
    let (code, _, stderr) = run(&["serve"], &other);
    assert_eq!(code, Some(1));
    assert!(last(&stderr).contains("the store has this task with another model"), "{stderr}");

    let config = config_file(folder.path(), "127.0.0.1:0", 1);
    let models = fs::read_dir(folder.path().join("store/models/tiny")).expect("lists");
    let mut models: Vec<_> = models.map(|entry| entry.expect("readable").path()).collect();
    models.sort();
    fs::write(models.last().expect("two"), "broken").expect("writes");
    let (code, _, stderr) = run(&["serve"], &config);
    assert_eq!(code, Some(1));
    assert!(last(&stderr).contains("the newest model, that of round 1, is damaged"), "{stderr}");
}

#[test]
fn check_sums_up_a_good_config() {
    let folder = TempDir::new().expect("a folder");
    let config = config_file(folder.path(), "127.0.0.1:0", 1);
    let (code, stdout, stderr) = run(&["check"], &config);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(
        stdout.contains("task tiny: 3 parameters on arrays [2], no limit on rounds"),
        "{stdout}"
    );
}

fn run_store(arguments: &[&str], config: &Path) -> (Option<i32>, String, String) {
    run(&[&["store"], arguments].concat(), config)
}

#[tokio::test]
async fn the_program_backs_up_beside_a_server_and_repairs_without_one() {
    let folder = TempDir::new().expect("a folder");
    let config = config_file(folder.path(), "127.0.0.1:0", 1);
    let (code, _, stderr) = run_store(&["check"], &config);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("there is no store in"), "{stderr}");

    let program = Program::start(&config);
    make_rounds(program.address, 1, 2).await;
    for command in ["check", "repair"] {
        let (code, _, stderr) = run_store(&[command], &config);
        assert_eq!(code, Some(1));
        assert!(stderr.contains("a server is using the store"), "{stderr}");
    }
    let copy = folder.path().join("copy");
    let to = copy.to_str().expect("text");
    let (code, stdout, stderr) = run_store(&["backup", "--to", to], &config);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("task tiny: 2 completed, running; intact are"), "{stdout}");
    make_rounds(program.address, 3, 1).await;
    drop(program);

    let (code, stdout, stderr) = run_store(&["check"], &config);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("intact are the models of rounds 0 to 3;"), "{stdout}");
    let models = fs::read_dir(folder.path().join("store/models/tiny")).expect("lists");
    let newest = models.map(|entry| entry.expect("readable").path()).max().expect("four");
    fs::write(newest, "broken").expect("writes");
    let (code, stdout, _) = run_store(&["check"], &config);
    assert_eq!(code, Some(1));
    assert!(stdout.contains("damaged: the model of round 3: "), "{stdout}");
    let (code, stdout, _) = run_store(&["repair"], &config);
    assert_eq!(code, Some(0));
    assert!(stdout.contains("goes on with that of round 2, as round 4"), "{stdout}");
    let (code, stdout, _) = run_store(&["repair"], &config);
    assert_eq!((code, stdout.as_str()), (Some(0), "nothing is damaged\n"));

    let program = Program::start(&config);
    make_rounds(program.address, 5, 1).await;
    drop(program);
    // The copy is a store of its own, as of its time.
    fs::remove_dir_all(folder.path().join("store")).expect("removes");
    fs::rename(&copy, folder.path().join("store")).expect("renames");
    let program = Program::start(&config);
    make_rounds(program.address, 3, 1).await;
}
