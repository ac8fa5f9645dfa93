//! Euclidean lengths and distances in `f64`. Sums have a fixed order, so that a result is
//! the same on every processor.

use crate::vectors::widest;

/// Sums that are made side by side.
const LANES: usize = 8;

/// Euclidean norm.
pub(super) fn norm(values: &[f32]) -> f64 {
    widest(|| squares(values, values, |value, _| value.into())).sqrt()
}

/// Squared distance of two updates.
pub(super) fn squared_distance(one: &[f32], other: &[f32]) -> f64 {
    widest(|| squares(one, other, |one, other| f64::from(one) - f64::from(other)))
}

/// Distance of an update from a point.
pub(super) fn distance(point: &[f64], update: &[f32]) -> f64 {
    widest(|| squares(point, update, |point, value| f64::from(value) - point)).sqrt()
}

/// Sum of the squared differences of two vectors of one length.
#[inline(always)]
fn squares<A: Copy, B: Copy>(left: &[A], right: &[B], difference: impl Fn(A, B) -> f64) -> f64 {
    let mut lanes = [0.0; LANES];
    let (left, right) = (left.chunks_exact(LANES), right.chunks_exact(LANES));
    let mut rest = 0.0;
    for (left, right) in left.remainder().iter().zip(right.remainder()) {
        let difference = difference(*left, *right);
        rest += difference * difference;
    }
    for (left, right) in left.zip(right) {
        for ((lane, left), right) in lanes.iter_mut().zip(left).zip(right) {
            let difference = difference(*left, *right);
            *lane += difference * difference;
        }
    }
    lanes.iter().sum::<f64>() + rest
}
