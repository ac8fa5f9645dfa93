//! Initial parameters of a model, drawn without burn so that every platform
//! starts from the same bits.

use fedra_protocol::ModelSpec;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A fresh flat parameter vector.
///
/// Weights and biases are uniform in `[-1/sqrt(fan_in), 1/sqrt(fan_in))`, as
/// PyTorch does for linear and convolution layers; a layer norm starts as the
/// identity. The same seed gives the same bits everywhere.
pub fn init_parameters(spec: &ModelSpec, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut parameters = Vec::with_capacity(spec.parameters());
    for tensor in spec.layout() {
        if tensor.name.ends_with(".gamma") {
            parameters.extend(std::iter::repeat_n(1.0, tensor.len()));
        } else if tensor.name.ends_with(".beta") {
            parameters.extend(std::iter::repeat_n(0.0, tensor.len()));
        } else {
            let bound = 1.0 / (tensor.fan_in as f32).sqrt();
            parameters.extend((0..tensor.len()).map(|_| (2.0 * unit(&mut rng) - 1.0) * bound));
        }
    }
    parameters
}

/// Uniform in [0, 1) with 24 random bits.
pub(crate) fn unit(rng: &mut (impl Rng + ?Sized)) -> f32 {
    (rng.next_u32() >> 8) as f32 / (1u32 << 24) as f32
}
