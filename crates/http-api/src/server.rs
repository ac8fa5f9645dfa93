//! The server as operators see it.

use serde::{Deserialize, Serialize};

use crate::operated::OperatedSummary;

/// Status of the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub struct ServerStatus {
    /// Version of the program.
    pub version: String,
    /// True if the server is about to stop.
    pub draining: bool,
    /// Time since the start.
    pub uptime_seconds: f64,
    /// Resident memory; null where the system does not tell.
    pub memory_bytes: Option<u64>,
    /// Open connections.
    pub connections: u64,
    /// Clients that are checked in.
    pub sessions: u64,
    /// Memory of updates that are on their way.
    pub upload_bytes_in_flight: u64,
    /// Most memory for them.
    pub upload_budget_bytes: u64,
    /// The tasks that run.
    pub tasks: Vec<OperatedSummary>,
    /// The tasks that could not start.
    pub set_aside: Vec<SetAsideTask>,
}

/// Task that could not start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub struct SetAsideTask {
    /// Name of the task.
    pub id: String,
    /// The problem and its remedy.
    pub reason: String,
}
