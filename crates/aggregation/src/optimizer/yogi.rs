//! FedYogi (Reddi et al. 2021, algorithm 2): the second moment moves towards the squares
//! by steps of their size, so that one small square does not shrink it much.

use std::cmp::Ordering;

/// The second moment after a round, from the one before and the squared mean. Never below
/// `beta2` times the one before.
pub(super) fn second_moment(beta2: f64, before: f64, squared: f64) -> f64 {
    let step = (1.0 - beta2) * squared;
    match before.total_cmp(&squared) {
        Ordering::Greater => before - step,
        Ordering::Equal => before,
        Ordering::Less => before + step,
    }
}
