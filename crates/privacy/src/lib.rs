//! What a task's privacy policy means for a model: the parameters that client
//! and server both derive from it, what a participation costs, and whether it
//! meets the floors that a client insists on.
//!
//! Both sides use this and nothing else, so that they cannot disagree. No I/O,
//! no clock, no randomness.

mod floors;
mod terms;
#[cfg(test)]
mod tests;

pub use floors::{FloorError, PrivacyFloors};
pub use terms::{Privacy, PrivacyError};
