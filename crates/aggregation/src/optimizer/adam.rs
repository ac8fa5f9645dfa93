//! FedAdam (Reddi et al. 2021, algorithm 2): the second moment is a decaying average of
//! the squares.

/// The second moment after a round, from the one before and the squared mean.
pub(super) fn second_moment(beta2: f64, before: f64, squared: f64) -> f64 {
    beta2 * before + (1.0 - beta2) * squared
}
