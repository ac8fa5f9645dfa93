//! Meaning of a task's privacy policy for a model: the parameters that client and
//! server both derive from it, the cost of a participation, and whether it meets the
//! floors that a client insists on.
//!
//! Both sides use this and nothing else, so that they cannot disagree. No I/O,
//! no clock, no randomness.
//!
//! # Example
//!
//! A policy, the cost of 20 rounds of it for one participant, and a client's floors.
//!
//! ```
//! use fedra_privacy_policy::{DerivedPolicy, PrivacyFloors};
//! use fedra_protocol::{Mechanism, PrivacyPolicy};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let policy = PrivacyPolicy {
//!     mechanism: Mechanism::Distributed,
//!     noise_multiplier: 2.0,
//!     clipping_norm: 1.0,
//!     target_quantile: None,
//!     epsilon: 16.0,
//!     delta: 1e-5,
//!     cohort: 100,
//!     minimum_survivors: 80,
//!     colluders: 0,
//!     max_participations: 20,
//! };
//! let privacy = DerivedPolicy::new(policy, 7_850)?;
//! assert!(privacy.is_secure_aggregation());
//! assert!(privacy.epsilon_after(10) < privacy.epsilon_after(20));
//! assert!(privacy.epsilon_after(20) <= 16.0);
//!
//! let floors = PrivacyFloors { min_cohort: Some(200), ..PrivacyFloors::default() };
//! assert!(floors.check(Some(&privacy)).is_err());
//! # Ok(())
//! # }
//! ```

mod floors;
mod terms;
#[cfg(test)]
mod tests;

pub use floors::{FloorError, PrivacyFloors};
pub use terms::{DerivedPolicy, PrivacyError, banded_noise, noise_of_all_rounds};
