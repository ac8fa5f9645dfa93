//! Initial parameters of a model, drawn without burn so that every platform
//! starts from the same bits.

use std::f64::consts::PI;
use std::sync::Arc;

use fedra_protocol::{Init, ModelSpec};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::Weights;

/// A fresh flat parameter vector: the trained half of [`init_weights`].
pub fn init_parameters(spec: &ModelSpec, seed: u64) -> Vec<f32> {
    Arc::unwrap_or_clone(init_weights(spec, seed).trained)
}

/// Fresh values of a model.
///
/// Each tensor starts as its [`Init`] says. The same seed gives the same bits everywhere, and
/// whether a layer is frozen does not matter.
pub fn init_weights(spec: &ModelSpec, seed: u64) -> Weights {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut values = Vec::with_capacity(spec.parameters() + spec.frozen_parameters());
    for (tensor, _) in spec.tensors() {
        let len = tensor.len();
        match tensor.init {
            Init::Ones => values.extend(std::iter::repeat_n(1.0, len)),
            Init::Zeros => values.extend(std::iter::repeat_n(0.0, len)),
            Init::Normal => values.extend((0..len).map(|_| normal(&mut rng))),
            Init::Uniform { fan_in } => {
                let bound = 1.0 / (fan_in as f32).sqrt();
                values.extend((0..len).map(|_| (2.0 * unit(&mut rng) - 1.0) * bound));
            }
        }
    }
    Weights::of_values(spec, values)
}

/// Uniform in [0, 1) with 24 random bits.
pub(crate) fn unit(rng: &mut (impl Rng + ?Sized)) -> f32 {
    (rng.next_u32() >> 8) as f32 / (1u32 << 24) as f32
}

/// Normal with mean 0 and variance 1 (Box and Muller 1958), with libm in double precision,
/// so that the rounded values are the same on every platform.
fn normal(rng: &mut impl Rng) -> f32 {
    // In (0, 1], whose logarithm is finite.
    let radius = (f64::from(rng.next_u32()) + 1.0) / TWO_TO_32;
    let angle = f64::from(rng.next_u32()) / TWO_TO_32 * 2.0 * PI;
    ((-2.0 * libm::log(radius)).sqrt() * libm::cos(angle)) as f32
}

const TWO_TO_32: f64 = 4_294_967_296.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_values_have_the_moments_of_the_law_and_never_change() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let values: Vec<f32> = (0..100_000).map(|_| normal(&mut rng)).collect();
        let count = values.len() as f64;
        let moment = |power| values.iter().map(|&x| f64::from(x).powi(power)).sum::<f64>() / count;
        // Five standard errors of each moment.
        assert!(moment(1).abs() < 5.0 / count.sqrt(), "{}", moment(1));
        assert!((moment(2) - 1.0).abs() < 5.0 * (2.0 / count).sqrt(), "{}", moment(2));
        assert!((moment(4) - 3.0).abs() < 5.0 * (96.0 / count).sqrt(), "{}", moment(4));
        let bits: Vec<u32> = values[..3].iter().map(|value| value.to_bits()).collect();
        assert_eq!(bits, GOLDEN, "{bits:#x?}");
    }

    const GOLDEN: [u32; 3] = [0x3f08_b079, 0xbeb2_0aee, 0x3ef6_5ddf];
}
