//! Lines of a task's privacy ledger.

use serde::{Deserialize, Serialize};

/// Entry of the ledger without its subjects.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, ts_rs::TS))]
pub struct LedgerEntry {
    /// The round that was paid for.
    pub round: u64,
    /// Its attempt, from 0.
    pub attempt: u32,
    /// Time, seconds since 1970.
    pub unix_seconds: u64,
    /// Cost of one participation: ρ = μ²/2 of Gaussian differential privacy.
    pub rho: f64,
    /// Number of subjects that took part.
    pub subjects: u64,
}
