//! Every input that was ever interesting goes through its target once more: the
//! corpus, what once crashed, and the golden bytes of the protocol.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use fedra_fuzz::{TARGETS, Target};

fn folder(kind: &str, target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(kind).join(target)
}

/// The files in a folder; none if there is no folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect()
}

/// The names of the inputs that the target fails on.
fn failures(target: Target, inputs: impl IntoIterator<Item = (String, Vec<u8>)>) -> Vec<String> {
    let fails = |bytes: &[u8]| catch_unwind(AssertUnwindSafe(|| (target.run)(bytes))).is_err();
    inputs.into_iter().filter(|(_, bytes)| fails(bytes)).map(|(name, _)| name).collect()
}

fn replay(kind: &str, name: &str) -> usize {
    let target = fedra_fuzz::target(name).unwrap();
    let inputs: Vec<_> = files(&folder(kind, name))
        .into_iter()
        .map(|path| (path.display().to_string(), fs::read(&path).unwrap()))
        .collect();
    let count = inputs.len();
    assert_eq!(failures(target, inputs), [""; 0], "{name} fails on these");
    count
}

macro_rules! replays {
    ($($(#[$condition:meta])? $name:ident,)*) => {
        $(
            $(#[$condition])?
            #[test]
            fn $name() {
                assert!(replay("corpus", stringify!($name)) > 0, "the corpus has no file");
                replay("crashers", stringify!($name));
            }
        )*

        const REPLAYED: &[&str] = &[$($(#[$condition])? stringify!($name)),*];
    };
}

replays! {
    codec,
    data,
    client_message,
    server_message,
    model_spec,
    packing,
    privacy_policy,
    encoded_update,
    secure_client,
    secure_server,
    update,
    #[cfg(feature = "full")] config,
    #[cfg(feature = "full")] safetensors,
    #[cfg(feature = "full")] client_session,
    #[cfg(feature = "full")] strangers,
}

/// The aggregator's tests replay these.
const ELSEWHERE: [&str; 2] = ["forwarded", "join_token"];

#[test]
fn every_target_is_replayed_and_every_folder_is_a_targets() {
    assert!(REPLAYED.iter().eq(TARGETS.iter().map(|target| &target.name)));
    if cfg!(feature = "full") {
        for kind in ["corpus", "crashers"] {
            let Ok(entries) = fs::read_dir(folder(kind, "")) else { continue };
            for entry in entries {
                let name = entry.unwrap().file_name().into_string().unwrap();
                let known = REPLAYED.contains(&name.as_str()) || ELSEWHERE.contains(&name.as_str());
                assert!(known, "{kind}/{name} is no target's");
            }
        }
    }
}

#[test]
fn every_golden_message_is_decoded_and_encoded_again() {
    let golden = [
        ("client_message", include_str!("../../protocol/tests/golden/client.txt")),
        ("server_message", include_str!("../../protocol/tests/golden/server.txt")),
    ];
    for (name, lines) in golden {
        let inputs: Vec<_> = lines
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                let (name, bytes) = line.split_once(' ').unwrap();
                (name.to_owned(), hex::decode(bytes).unwrap())
            })
            .collect();
        assert!(!inputs.is_empty());
        assert_eq!(failures(fedra_fuzz::target(name).unwrap(), inputs), [""; 0]);
    }
}

#[test]
fn an_input_that_a_target_fails_on_is_named() {
    let target = Target { name: "no zeros", run: |bytes| assert!(!bytes.contains(&0)) };
    let inputs = [("good".to_owned(), vec![1, 2]), ("bad".to_owned(), vec![1, 0])];
    assert_eq!(failures(target, inputs), ["bad"]);
}
