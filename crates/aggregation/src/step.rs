//! Steps of a global model as they travel: the difference to the model before, in a codec of
//! values. The server goes on from what it has sent, so that whoever adds the same bytes to
//! the model before has the same model, bit for bit.
//!
//! The part that a codec leaves out of a step is added to the next one (error feedback, Stich
//! et al. 2018, on the server's side as Tang et al. 2019 have it).

use crate::codec::{CodecMisfit, ValueCodec};
use crate::update::CheckedUpdate;

/// Step of a global model in a codec.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The difference as it travels.
    pub bytes: Vec<u8>,
    /// The parameters that it leads to from the model before.
    pub parameters: Vec<f32>,
    /// Rest that this step and the earlier ones have left out, one value a parameter.
    pub residual: Vec<f32>,
}

impl Step {
    /// Step from the parameters `base` towards `wanted`, with the `residual` of the steps
    /// before; it is empty where there are none. The three have one length. Every difference
    /// is limited to ±`most`, the largest magnitude of the codec's values, and the rest of it
    /// is left out. `None` if a difference or the rest of one is not a finite number.
    #[must_use]
    pub fn towards(
        wanted: &[f32],
        base: &[f32],
        residual: &[f32],
        codec: &dyn ValueCodec,
        most: f32,
        seed: &[u8; 32],
    ) -> Option<Self> {
        // Exact enough that no rounding is lost from round to round.
        let targets = || {
            let earlier = residual.iter().copied().chain(std::iter::repeat(0.0));
            let sum = |(wanted, earlier): (&f32, f32)| f64::from(*wanted) + f64::from(earlier);
            wanted.iter().zip(earlier).map(sum)
        };
        let difference = |(target, base): (f64, &f32)| (target - f64::from(*base)) as f32;
        let differences: Vec<f32> = targets()
            .zip(base)
            .map(difference)
            .map(|difference| difference.clamp(-most, most))
            .collect();
        if differences.iter().any(|difference| !difference.is_finite()) {
            return None;
        }
        let bytes = codec.encode(&differences, seed);
        let mut parameters = base.to_vec();
        add(&bytes, codec, &mut parameters);
        let residual: Vec<f32> = targets().zip(&parameters).map(difference).collect();
        let is_finite = residual.iter().all(|value| value.is_finite());
        is_finite.then_some(Self { bytes, parameters, residual })
    }
}

impl CheckedUpdate {
    /// Adds a step to the parameters that it starts from, in float32 and in their order: the
    /// bits are those of [`Step::parameters`] on every machine. Parameters and step have one
    /// length.
    ///
    /// # Errors
    ///
    /// [`CodecMisfit`] if it consists of words.
    pub fn add_to(&self, parameters: &mut [f32]) -> Result<(), CodecMisfit> {
        add(self.bytes(), self.codec().values()?, parameters);
        Ok(())
    }
}

/// Adds the values of checked bytes.
fn add(bytes: &[u8], codec: &dyn ValueCodec, parameters: &mut [f32]) {
    let mut rest = parameters.iter_mut();
    codec.decode(bytes, &mut |values| {
        rest.by_ref().zip(values).for_each(|(parameter, value)| *parameter += value);
    });
}

#[cfg(test)]
mod tests;
