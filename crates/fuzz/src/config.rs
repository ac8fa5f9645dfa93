//! Operator's config: any file is either read, or every mistake in it is told.

use fedra_aggregator::config::Config;

/// TOML that may be a config.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::from_toml(text) {
        Ok(config) => {
            assert!(!config.tasks.is_empty());
            assert!(config.summary().lines().count() > config.tasks.len());
        }
        Err(mistakes) => {
            assert!(!mistakes.0.is_empty(), "refused without a reason");
            assert!(mistakes.0.iter().all(|mistake| !mistake.problem.is_empty()));
        }
    }
}
