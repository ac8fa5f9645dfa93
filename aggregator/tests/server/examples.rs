//! The configs of `examples/tasks` are valid.

use std::fs;
use std::path::Path;

use fedra_aggregator::config::Config;

/// The last table of a config. The examples that it names are made from npm packages, which
/// need not be there; `wasm-tests/e2e/examples.test.mjs` checks the configs with them.
const EVALUATION: &str = "\n[task.evaluation]\n";

#[test]
fn each_example_is_valid_and_has_the_task_of_its_name() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/tasks");
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("a text");
        let (config, evaluation) = text.split_once(EVALUATION).unwrap_or((text.as_str(), ""));
        assert!(!evaluation.contains('['), "{name}: the evaluation is the last table");
        Config::from_toml(config).unwrap_or_else(|mistakes| panic!("{name}: {mistakes}"));
        assert_eq!(text.matches("[[task]]").count(), 1, "{name}");
        assert!(text.contains(&format!("[[task]]\nid = \"{name}\"\n")), "{name}");
        names.push(name);
    }
    names.sort();
    assert_eq!(names, ["moby-dick", "phase-of-flight", "teach"]);
}
