//! The manual and the example say what the program does.

use std::collections::BTreeSet;

use fedra_aggregator::config::Config;

const MANUAL: &str = include_str!("../../../docs/OPERATIONS.md");
const EXAMPLE: &str = include_str!("../../fedra.example.toml");

/// The names in the first column of the manual's tables.
fn first_column() -> BTreeSet<String> {
    let cells = MANUAL.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    cells.map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn the_manual_has_every_key_and_no_other() {
    // Other tables have other things; that of the metrics is held to src/metrics there.
    let is_key = |name: &String| name.starts_with("server.") || name.starts_with("task.");
    let keys: BTreeSet<_> = first_column().into_iter().filter(is_key).collect();
    assert_eq!(keys, Config::keys());
}

/// The keys of the example with their tables, those in comments as well.
fn shown() -> BTreeSet<String> {
    let mut table = "";
    let mut keys = BTreeSet::new();
    for line in EXAMPLE.lines().map(|line| line.trim_start_matches("# ")) {
        if line.starts_with('[') {
            table = line.trim_matches(['[', ']']);
        } else if let Some((key, _)) = line.split_once(" = ") {
            keys.insert(format!("{table}.{key}"));
        }
    }
    keys
}

#[test]
fn the_example_is_valid_and_shows_every_key_and_no_other() {
    Config::from_toml(EXAMPLE).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(shown(), Config::keys());
}
