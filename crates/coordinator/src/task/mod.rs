//! Task: its core, which takes commands and decides, and its start from the store.

mod archive;
mod clients;
mod core;
mod health;
mod ledger;
mod start;
#[cfg(test)]
mod tests;

pub use self::core::TaskCore;
pub use self::start::{ReadInitial, StartError, Started, start};
