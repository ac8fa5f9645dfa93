//! Costs of mechanisms, and their composition.
//!
//! Costs that are Gaussian in kind (the Gaussian and the discrete Gaussian
//! mechanism, alone or in a sum of shares or a tree) are a [`Rho`](crate::Rho):
//! they add up, and [`Rho::epsilon`](crate::Rho::epsilon) turns the sum into
//! (ε, δ). What sampling amplifies is an [`RdpCurve`], which composes in the same
//! way. [`LossDistribution`] is the tighter, slower account of the Poisson-sampled
//! Gaussian.
//!
//! Everything rounds towards the larger ε. Nothing here knows which mechanism really
//! ran: a caller that claims Poisson sampling has to sample so.

mod conversion;
pub mod distributed;
mod gaussian;
mod inverse;
mod loss;
mod rdp;
mod tree;
mod without_replacement;

pub use gaussian::{gaussian_delta, gaussian_epsilon};
pub use inverse::smallest_noise_multiplier;
pub use loss::LossDistribution;
pub use rdp::{ORDERS, RdpCurve};
pub use tree::TreeParticipation;
