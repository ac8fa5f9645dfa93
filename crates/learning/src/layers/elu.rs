//! Exponential linear unit.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use fedra_protocol::layers as spec;

use super::activation::{Activation, at_each_rank};
use super::parameters::Parameters;
use super::{LayerModule, Mode};

#[derive(Module, Debug)]
pub(crate) struct Elu {
    alpha: f32,
}

impl LayerModule for Elu {
    type Spec = spec::Elu;

    fn build(spec: &spec::Elu, _parameters: &mut Parameters<'_>) -> Self {
        Self { alpha: spec.alpha }
    }

    fn apply(&self, input: Activation, _mode: &mut Mode<'_>) -> Activation {
        at_each_rank!(input, x => self.activated(x))
    }
}

impl Elu {
    /// Unlike burn's own, never takes the exponential of a large value, whose gradient
    /// is infinity times zero.
    fn activated<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let below = x.clone().clamp_max(0.0).exp().sub_scalar(1.0).mul_scalar(self.alpha);
        relu(x) + below
    }
}

#[cfg(test)]
mod tests {
    use fedra_data::{Dataset, Targets};
    use fedra_protocol::layers::{Conv2d, Elu, Flatten, Linear};
    use fedra_protocol::{Loss, ModelSpec};

    use crate::gradient;
    use crate::tests::{check_gradient, close, predict::outputs};

    #[test]
    fn gradients_match_finite_differences() {
        let layers = vec![
            Conv2d { channels: 3, kernel: 3, stride: 1, padding: 1 }.into(),
            Elu { alpha: 0.5 }.into(),
            Flatten.into(),
            Linear { outputs: 6 }.into(),
            Elu { alpha: 1.0 }.into(),
            Linear { outputs: 4 }.into(),
        ];
        let spec = ModelSpec::new(&[2, 6, 6], layers, Loss::SoftmaxCrossEntropy).unwrap();
        check_gradient(&spec);
    }

    #[test]
    fn values_are_those_of_the_formula_and_large_ones_keep_a_finite_gradient() {
        // One weight of 1 and no bias.
        let layers = vec![Linear { outputs: 1 }.into(), Elu { alpha: 2.0 }.into()];
        let spec = ModelSpec::new(&[1], layers, Loss::MeanSquaredError).unwrap();
        let features = vec![-200.0, -1.0, 0.0, 3.0, 200.0];
        let below = 2.0 * ((-1.0f32).exp() - 1.0);
        close(&outputs(&spec, &[1.0, 0.0], features), &[-2.0, below, 0.0, 3.0, 200.0]);
        let targets = Targets::Values { values: vec![0.0], width: 1 };
        let data = Dataset::new(vec![200.0], spec.input(), targets).unwrap();
        let flat = gradient(&spec, &[1.0, 0.0], &data, &[0]).unwrap();
        // d(y^2)/dw = 2 y x.
        close(&flat, &[2.0 * 200.0 * 200.0, 2.0 * 200.0]);
    }
}
