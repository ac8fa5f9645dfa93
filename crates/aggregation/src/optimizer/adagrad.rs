//! FedAdagrad (Reddi et al. 2021, algorithm 2): the second moment is the sum of all
//! squares.

/// The second moment after a round, from the one before and the squared mean.
pub(super) fn second_moment(before: f64, squared: f64) -> f64 {
    before + squared
}
