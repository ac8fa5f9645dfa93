//! Requests to an aggregator on this machine.

use std::time::Duration;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use ureq::Agent;

/// Asks one aggregator.
pub struct Http {
    agent: Agent,
    base: String,
}

impl Http {
    /// `base` is an address such as `http://127.0.0.1:8080`.
    pub fn new(base: String) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(10)))
            .proxy(None)
            .build();
        Self { agent: Agent::new_with_config(config), base }
    }

    /// True if `path` answers with a success.
    pub fn is_ok(&self, path: &str) -> bool {
        self.agent.get(format!("{}{path}", self.base)).call().is_ok()
    }

    /// The JSON at `path`.
    pub fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let text = self.text(path)?;
        serde_json::from_str(&text).with_context(|| format!("GET {path} is not what it should be"))
    }

    /// The text at `path`.
    pub fn text(&self, path: &str) -> Result<String> {
        self.agent
            .get(format!("{}{path}", self.base))
            .call()
            .and_then(|mut answer| answer.body_mut().read_to_string())
            .with_context(|| format!("the aggregator did not answer GET {path}"))
    }
}
