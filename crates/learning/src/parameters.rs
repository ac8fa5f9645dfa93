//! Initial parameters of a model, drawn without burn so that every platform
//! starts from the same bits.

use fedra_protocol::{Init, ModelSpec};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A fresh flat parameter vector.
///
/// Each tensor starts as its [`Init`] says. The same seed gives the same bits everywhere.
pub fn init_parameters(spec: &ModelSpec, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut parameters = Vec::with_capacity(spec.parameters());
    for tensor in spec.layout() {
        let len = tensor.len();
        match tensor.init {
            Init::Ones => parameters.extend(std::iter::repeat_n(1.0, len)),
            Init::Zeros => parameters.extend(std::iter::repeat_n(0.0, len)),
            Init::Uniform { fan_in } => {
                let bound = 1.0 / (fan_in as f32).sqrt();
                parameters.extend((0..len).map(|_| (2.0 * unit(&mut rng) - 1.0) * bound));
            }
        }
    }
    parameters
}

/// Uniform in [0, 1) with 24 random bits.
pub(crate) fn unit(rng: &mut (impl Rng + ?Sized)) -> f32 {
    (rng.next_u32() >> 8) as f32 / (1u32 << 24) as f32
}
