//! Comparison of the types with `docs/openapi.json` and with the types of the pages.
//!
//! `FEDRA_BLESS=1 cargo test -p fedra-http-api` writes both anew after a change that is
//! meant.

mod openapi;
mod operations;
mod schemas;
mod typescript;

use std::env;
use std::fs;
use std::path::Path;

/// Compares the file at `path` below the project's root with `expected`, or writes it.
fn compare(path: &str, expected: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    if env::var_os("FEDRA_BLESS").is_some() {
        let folder = file.parent().expect("a folder");
        fs::create_dir_all(folder).expect("the folder can be made");
        fs::write(&file, expected).expect("the file can be written");
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        found == expected,
        "{path} is not what the types say; FEDRA_BLESS=1 cargo test -p fedra-http-api writes it"
    );
}

#[test]
fn a_name_is_that_of_the_json() {
    use crate::{HealthState, OperatorAction, Phase, Policy, TaskState};

    fn json<T: serde::Serialize>(value: T) -> String {
        serde_json::to_string(&value).expect("JSON").replace('"', "")
    }
    for action in OperatorAction::ALL {
        assert_eq!(action.name(), json(action));
    }
    for state in [TaskState::Running, TaskState::Paused, TaskState::Stopped, TaskState::Finished] {
        assert_eq!(state.name(), json(state));
    }
    for state in [HealthState::Ok, HealthState::Waiting, HealthState::Failing] {
        assert_eq!(state.name(), json(state));
    }
    for policy in [Policy::Distributed, Policy::Local, Policy::Central] {
        assert_eq!(policy.name(), json(policy));
    }
    for phase in [
        Phase::Selecting,
        Phase::Collecting,
        Phase::Sharing,
        Phase::Masking,
        Phase::Unmasking,
        Phase::Finalizing,
        Phase::Finished,
        Phase::Paused,
    ] {
        assert_eq!(phase.name(), json(phase));
    }
}
