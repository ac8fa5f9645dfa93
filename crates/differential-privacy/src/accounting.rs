//! Costs of mechanisms, and their composition.
//!
//! Costs of Gaussian noise, continuous or [`discrete`], alone, in a sum of shares, in a tree
//! or under a [`Correlation`] over the steps, are a [`Rho`](crate::Rho): they add up, and
//! [`Rho::epsilon`](crate::Rho::epsilon) turns the sum into (ε, δ) exactly. What sampling
//! amplifies is an [`RdpCurve`], which composes in the same way. [`LossDistribution`] is
//! the tighter, slower account of the Poisson-sampled Gaussian.
//!
//! Everything rounds towards the larger ε. Nothing here knows which mechanism really
//! ran: a caller that claims Poisson sampling has to sample so.

pub(crate) mod correlation;
pub mod discrete;
mod gaussian;
mod inverse;
mod loss;
pub(crate) mod participation;
mod rdp;
mod tree;
mod without_replacement;

pub use correlation::Correlation;
pub use inverse::smallest_noise_multiplier;
pub use loss::LossDistribution;
pub use participation::Participation;
pub use rdp::{ORDERS, RdpCurve};
