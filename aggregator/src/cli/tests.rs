//! The command line as people and files use it.

use clap::CommandFactory;

use super::*;

const UNIT: &str = include_str!("../../../deploy/systemd/fedra-aggregator.service");
const DOCKERFILE: &str = include_str!("../../../deploy/Dockerfile");

fn parse(line: &str) -> Result<Arguments, clap::Error> {
    Arguments::try_parse_from(line.split_whitespace())
}

#[test]
fn the_command_line_is_sound() {
    Arguments::command().debug_assert();
}

/// The program's commands in the manual's code blocks.
fn manual() -> Vec<&'static str> {
    let blocks = include_str!("../../../docs/OPERATIONS.md").split("```").skip(1).step_by(2);
    let lines = blocks.filter(|block| block.starts_with("sh\n")).flat_map(str::lines);
    lines
        .filter_map(|line| line.find("fedra-aggregator ").map(|at| line.split_at(at)))
        // Not where it is the name of a package, an image or a service.
        .filter(|(before, _)| before.is_empty() || before.ends_with('/') && !before.contains(' '))
        .map(|(_, line)| line.split(['#', '>', '|', ';', ')', '&']).next().unwrap_or(line).trim())
        .collect()
}

#[test]
fn every_command_in_the_manual_is_understood() {
    let commands = manual();
    assert!(commands.len() > 10, "{commands:?}");
    for command in commands {
        parse(command).unwrap_or_else(|error| panic!("{command}: {error}"));
    }
}

#[test]
fn a_token_is_never_an_argument() {
    for line in [
        "fedra-aggregator status --token secret",
        "fedra-aggregator task list --token=secret",
        "fedra-aggregator task pause digits secret",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
    assert!(parse("fedra-aggregator status --token-file operator-token").is_ok());
}

#[test]
fn ids_and_rounds_are_checked_before_anybody_is_asked() {
    for bad in [
        "fedra-aggregator task pause Not/An/Id",
        "fedra-aggregator task rollback digits",
        "fedra-aggregator task rollback digits --to -1",
        "fedra-aggregator task export digits",
        "fedra-aggregator task",
    ] {
        let error = parse(bad).err().unwrap_or_else(|| panic!("{bad}"));
        assert_eq!(error.exit_code(), i32::from(USAGE), "{bad}");
    }
}

#[test]
fn where_the_server_is_may_stand_before_or_behind_the_command() {
    for line in [
        "fedra-aggregator task --server https://fl.example.org list --json",
        "fedra-aggregator task list --server https://fl.example.org --json",
    ] {
        let Command::Task { server, command: TaskCommand::List } =
            parse(line).unwrap_or_else(|error| panic!("{error}")).command
        else {
            panic!("{line}");
        };
        assert!(server.json, "{line}");
        assert!(format!("{server:?}").contains("https://fl.example.org"), "{line}");
    }
}

#[test]
fn the_unit_starts_what_there_is() {
    let starts: Vec<&str> = UNIT.lines().filter_map(|l| l.strip_prefix("ExecStart=")).collect();
    assert_eq!(starts.len(), 1);
    let Command::Serve { .. } = parse(starts[0]).expect("a command").command else {
        panic!("{}", starts[0]);
    };
    environment_is_known(UNIT.lines().filter_map(|line| line.strip_prefix("Environment=")));
}

#[test]
fn the_image_starts_what_there_is() {
    let entry = DOCKERFILE.lines().find_map(|line| line.strip_prefix("ENTRYPOINT "));
    let mut command: Vec<String> = serde_json::from_str(entry.expect("one")).expect("JSON");
    let last = DOCKERFILE.lines().rfind(|line| line.starts_with("CMD ")).expect("a command");
    command.extend(serde_json::from_str::<Vec<String>>(&last[4..]).expect("JSON"));
    let Command::Serve { .. } = Arguments::try_parse_from(command).expect("a command").command
    else {
        panic!("{last}");
    };
    let health = DOCKERFILE.lines().find_map(|line| line.strip_prefix("    CMD ")).expect("health");
    let health: Vec<String> = serde_json::from_str(health).expect("JSON");
    assert!(Arguments::try_parse_from(health).is_ok());
    environment_is_known(
        DOCKERFILE
            .lines()
            .map(|line| line.trim_start_matches("ENV").trim().trim_end_matches(" \\"))
            .filter(|line| line.starts_with("FEDRA_")),
    );
}

#[test]
fn the_manifest_sets_what_there_is() {
    let manifest = include_str!("../../../deploy/kubernetes/fedra.yaml");
    let lines: Vec<&str> = manifest.lines().map(str::trim).collect();
    let variables = lines.windows(2).filter_map(|pair| {
        let name = pair[0].strip_prefix("- name: ").filter(|name| name.starts_with("FEDRA_"))?;
        Some((name, pair[1].strip_prefix("value: ")?))
    });
    let set: Vec<_> = variables.collect();
    assert_eq!(set, [("FEDRA_SERVER__ADMIN__TOKEN_FILE", "/run/secrets/fedra/operator-token")]);
    assert!(fedra_aggregator::config::Config::keys().contains("server.admin.token_file"));
    let config =
        manifest.split_once("fedra.toml: |\n").and_then(|(_, rest)| rest.split_once("---"));
    let config: String = config.expect("a config").0.replace("\n    ", "\n");
    fedra_aggregator::config::Config::from_toml(config.trim_start())
        .unwrap_or_else(|mistakes| panic!("{mistakes}"));
}

/// A variable that is no key of the config is not read.
fn environment_is_known<'a>(lines: impl Iterator<Item = &'a str>) {
    let keys = fedra_aggregator::config::Config::keys();
    let mut seen = 0;
    for line in lines {
        let (name, _) = line.split_once('=').expect("a value");
        let key = name.trim_start_matches("FEDRA_").to_lowercase().replace("__", ".");
        assert!(keys.contains(&key) || name == "FEDRA_CONFIG_FILE", "{name}");
        seen += 1;
    }
    assert!(seen >= 2, "only {seen} variables");
}
