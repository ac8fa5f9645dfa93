//! Messages of the program `fedra-edge` about addresses and certificates that it cannot
//! use, before it looks at anything else.

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fedra-edge"))
        .args(["--task", "digits", "--data", "no-such-folder"])
        .args(arguments)
        .output()
        .expect("the program starts")
}

#[test]
fn an_address_that_is_none_is_a_mistake_in_the_command_line() {
    for (url, reason) in [
        ("localhost:8080", "begin with https://"),
        ("ftp://localhost", "ftp:// is no scheme of a server"),
        ("https://localhost:70000", "from 1 to 65535"),
        ("https://user@localhost", "use a token"),
    ] {
        let output = run(&["--url", url]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(reason), "{said}");
    }
}

#[test]
fn certificates_that_cannot_be_trusted_end_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let missing = folder.path().join("missing.pem");
    for (url, ca, reason) in [
        ("https://localhost", &missing, "cannot read"),
        ("https://localhost", &empty, "has no certificate in it"),
        ("http://localhost", &missing, "--url has to begin with https://"),
    ] {
        let output = run(&["--url", url, "--ca", ca.to_str().unwrap()]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(reason), "{said}");
    }
}
